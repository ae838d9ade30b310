"""C39: the service against the public description, and its own description."""

import pytest

from ... import description
from ...stack import Api, Stack, ok


@pytest.mark.skipif(not description.FILE.exists(), reason=description.REASON)
def test_c39_every_operation_of_ours_is_described() -> None:
    from openhtc.api.app import create_app

    served = create_app().openapi_schema.to_schema()["paths"]
    public = description.document()["paths"]
    for path, item in served.items():
        name = description.operation_of(path)
        assert name is not None, f"{path} is no path of the public description"
        methods = {method for method in item if method in ("get", "post", "put", "patch", "delete")}
        assert methods <= set(public[name]), path


def test_c39_our_own_description(stack: Stack, alice_api: Api) -> None:
    found = ok(alice_api.get(f"{stack.root_url}/q/openapi"))
    assert found["openapi"].startswith("3.")
    paths = [path for path in found["paths"] if path.endswith("/jobs/batch")]
    assert len(paths) == 1
