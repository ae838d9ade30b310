"""C34: temporary keys and presigned addresses, used against the object store."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import obstore
import pytest
from obstore.store import S3Store

from ...stack import Api, Json, Task, User, ok
from .refusals import refused


def store_of(token: Json) -> S3Store:
    """The object store with the keys of a storage token."""
    keys = token["credentials"]
    return S3Store(
        token["storageName"],
        endpoint=token["endpoint"],
        access_key_id=keys["AWS_ACCESS_KEY_ID"],
        secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        session_token=keys["AWS_SESSION_TOKEN"],
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def key_of(token: Json, path: str) -> str:
    prefix = f"s3://{token['storageName']}/"
    assert path.startswith(prefix)
    return path.removeprefix(prefix)


def test_c34_presigned_address_of_a_task(task: Task) -> None:
    presigned = ok(task.api.get(f"{task.path}/storage/presigned-url", params={"filePath": "in/put one.txt"}))
    assert isinstance(presigned["url"], str)
    put = httpx.put(presigned["url"], content=b"from outside", trust_env=False)
    assert put.status_code == 200, put.text
    token = ok(task.api.get(f"{task.path}/storage/token"))
    folder = key_of(token, token["storagePath"])
    assert folder == f"projects/{task.project_id}/tasks/{task.task_id}/"
    assert bytes(obstore.get(store_of(token), f"{folder}in/put one.txt").bytes()) == b"from outside"
    assert httpx.get(presigned["url"], trust_env=False).status_code == 403, "it is for one PUT"


def test_c34_project_keys(alice_api: Api, project: Json) -> None:
    path = f"/htc/projects/{project['projectId']}/storage"
    token = ok(alice_api.get(f"{path}/token"))
    assert token["region"] == project["regions"][0]
    shared = key_of(token, token["projectSharedStoragePath"])
    assert shared == f"projects/{project['projectId']}/shared/"
    name = f"{shared}{uuid4()}"
    obstore.put(store_of(token), name, b"shared")
    same = ok(alice_api.get(f"{path}/token/{project['regions'][0]}"))
    assert bytes(obstore.get(store_of(same), name).bytes()) == b"shared"
    presigned = ok(alice_api.get(f"{path}/presigned-url", params={"filePath": "x"}))
    assert httpx.put(presigned["url"], content=b"x", trust_env=False).status_code == 200


def test_c34_keys_open_their_own_project_only(
    alice_api: Api, project: Json, connect_as: Callable[[User], Api], stranger: User
) -> None:
    token = ok(alice_api.get(f"/htc/projects/{project['projectId']}/storage/token"))
    name = f"{key_of(token, token['projectSharedStoragePath'])}{uuid4()}"
    obstore.put(store_of(token), name, b"secret")
    for api in (alice_api, connect_as(stranger)):
        other = api.new_project("elsewhere")["projectId"]
        foreign = store_of(ok(api.get(f"/htc/projects/{other}/storage/token")))
        for attempt in (
            lambda store: obstore.get(store, name).bytes(),
            lambda store: obstore.put(store, name, b"overwritten"),
            lambda store: obstore.delete(store, name),
            lambda store: obstore.list(store, name.rpartition("/")[0]).collect(),
        ):
            forbidden(attempt, foreign)
    assert bytes(obstore.get(store_of(token), name).bytes()) == b"secret"


def forbidden(attempt: Callable[[S3Store], Any], store: S3Store) -> None:
    with pytest.raises(Exception, match=r"(?i)403|denied|permission"):
        attempt(store)


@pytest.mark.parametrize("of", ["project", "task"])
@pytest.mark.parametrize(
    "file", [None, "", "../x", "a/../../x", "/etc/x", "a\0b", "..", "a/./../b", "a" * 2000]
)
def test_c34_refused_paths(task: Task, of: str, file: str | None) -> None:
    path = task.path if of == "task" else f"/htc/projects/{task.project_id}"
    params = {} if file is None else {"filePath": file}
    refused(task.api.get(f"{path}/storage/presigned-url", params=params), 400, "INVALID_REQUEST")


def test_unknown_regions(task: Task) -> None:
    for path in (task.path, f"/htc/projects/{task.project_id}"):
        for region in ("MARS", "AWS_EU_WEST_1", "UNASSIGNED"):
            refused(task.api.get(f"{path}/storage/token/{region}"), 404, "NOT_FOUND")
