"""Which changes of a task's state people may make."""

from itertools import product

import pytest

from openhtc.domain.enums import LifecycleStatus
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.retention import check_change

ACTIVE, ARCHIVED, DELETED = LifecycleStatus.ACTIVE, LifecycleStatus.ARCHIVED, LifecycleStatus.DELETED
ALLOWED = {(ACTIVE, ARCHIVED, 0), (ARCHIVED, ACTIVE, 0), (ARCHIVED, ACTIVE, 3)}


@pytest.mark.parametrize(
    ("state", "wanted", "unfinished"), [*product(LifecycleStatus, LifecycleStatus, (0, 3))]
)
def test_every_change(state: LifecycleStatus, wanted: LifecycleStatus, unfinished: int) -> None:
    if (state, wanted, unfinished) in ALLOWED:
        check_change(state, wanted, unfinished)
        return
    with pytest.raises(InvalidRequest) as caught:
        check_change(state, wanted, unfinished)
    assert caught.value.message.startswith("lifecycleStatus: ")
    assert caught.value.status == 400


def test_what_is_said() -> None:
    for change, said in (
        ((ACTIVE, ARCHIVED, 3), "3 of this task's have not ended"),
        ((ACTIVE, ACTIVE, 0), "is ACTIVE already, expected ARCHIVED"),
        ((ARCHIVED, ARCHIVED, 0), "is ARCHIVED already, expected ACTIVE"),
        ((ACTIVE, DELETED, 0), "DELETED cannot be set"),
        ((DELETED, ACTIVE, 0), "is DELETED, which is final"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            check_change(*change)
