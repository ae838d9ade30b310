"""P25: what admins alone decide."""

from collections.abc import Callable

import pytest
from rescalehtc import HtcSession, api
from rescalehtc.exceptions import HtcException
from rescalehtc.htcprojects import HtcProject

from ..stack import User

PRIORITY = "ON_DEMAND_PRIORITY"


@pytest.fixture(scope="module")
def admin(session_of: Callable[[User], HtcSession], wanda: User) -> HtcSession:
    return session_of(wanda)


@pytest.fixture
def fresh(htc: HtcSession) -> HtcProject:
    return HtcProject(
        api.post_htc_projects(htc, {"projectName": "rules", "projectDescription": "of its own"})
    )


def status_of(call: Callable[[], object]) -> int | None:
    with pytest.raises(HtcException) as refused:
        call()
    found: int | None = refused.value.status_code
    return found


def test_p25_dimensions(htc: HtcSession, admin: HtcSession, fresh: HtcProject) -> None:
    project = fresh.json["projectId"]
    entries = [{"machineType": "t2d-standard-16", "priority": PRIORITY, "hyperthreading": False}]
    assert status_of(lambda: api.put_htc_projects_dimensions(htc, project, entries)) == 403
    assert api.get_htc_projects_dimensions(htc, project) == []
    assert api.put_htc_projects_dimensions(admin, project, entries) == entries
    assert api.get_htc_projects_dimensions(htc, project) == entries
    assert api.put_htc_projects_dimensions(admin, project, []) == []
