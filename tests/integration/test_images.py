"""Images: pushing with the usual tools, who may, and the pinning of a tag at submission."""

import base64
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..stack import (
    Api,
    Image,
    Json,
    PushError,
    Stack,
    User,
    batch,
    build_busybox,
    ok,
    push,
    run,
    shell,
    wait_until,
)


@pytest.fixture
def fresh(alice_api: Api) -> Json:
    return alice_api.new_project("images")


@pytest.fixture
def token(alice_api: Api, fresh: Json) -> str:
    return token_of(alice_api, fresh)


def token_of(api: Api, project: Json) -> str:
    answer = api.get(f"/htc/projects/{project['projectId']}/container-registry/token")
    assert answer.status_code == 200
    return answer.text


def skopeo(image: Image, registry: str, name: str, user: str, password: str) -> Any:
    return run(
        *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
        *(
            "--dest-creds",
            f"{user}:{password}",
            f"oci:{image.layout}:{image.tag}",
            f"docker://{registry}{name}",
        ),
    )


def images_of(api: Api, project: Json) -> list[str]:
    found = ok(api.get(f"/htc/projects/{project['projectId']}/container-registry/images"))
    listed: list[str] = found["images"]
    return listed


def test_skopeo_pushes(alice_api: Api, fresh: Json, token: str, busybox_image: Image) -> None:
    done = skopeo(busybox_image, fresh["containerRegistry"], "tools/bb:v1", "AWS", token)
    assert done.returncode == 0, done.stderr
    assert images_of(alice_api, fresh) == ["tools/bb:v1"]


@pytest.fixture
def podman() -> Iterator[Callable[..., Any]]:
    """podman with a storage of its own."""
    home = Path(tempfile.mkdtemp(prefix="podman-"))

    def call(*arguments: str, **more: Any) -> Any:
        place = ("--root", str(home / "root"), "--runroot", str(home / "run"))
        return run(
            "podman", *place, "--storage-driver", "vfs", "--events-backend", "none", *arguments, **more
        )

    yield call
    call("rmi", "--all", "--force")
    shutil.rmtree(home, ignore_errors=True)


def test_podman_logs_in_and_pushes(
    podman: Callable[..., Any], tmp_path: Path, alice_api: Api, fresh: Json, token: str, busybox_image: Image
) -> None:
    host = fresh["containerRegistry"].split("/")[0]
    auth = ("--tls-verify=false", f"--authfile={tmp_path / 'auth.json'}")
    refused = podman("login", *auth, "-u", "AWS", "--password-stdin", host, input=f"x{token}")
    assert refused.returncode != 0 and "invalid username/password" in refused.stderr
    login = podman("login", *auth, "-u", "AWS", "--password-stdin", host, input=token)
    assert login.returncode == 0, login.stderr
    pulled = podman("pull", "--quiet", f"oci:{busybox_image.layout}:{busybox_image.tag}")
    assert pulled.returncode == 0, pulled.stderr
    name = f"{fresh['containerRegistry']}by/podman:v1"
    pushed = podman("push", "--quiet", *auth, pulled.stdout.strip(), name)
    assert pushed.returncode == 0, pushed.stderr
    assert images_of(alice_api, fresh) == ["by/podman:v1"]
    task = alice_api.new_task(fresh["projectId"])
    job = task.submit_one(batch("echo", "pushed by podman", image="by/podman:v1"))
    task.wait_for(job, "SUCCEEDED")
    task.wait_for_line(job, "pushed by podman")


@pytest.mark.parametrize(
    ("user", "change"),
    [
        ("AWS", lambda token: f"{token[:-3]}abc"),
        ("alice", lambda token: token),
        ("AWS", lambda token: "wrong"),
    ],
    ids=["changed token", "other user", "no token"],
)
def test_wrong_credentials(
    fresh: Json, token: str, busybox_image: Image, alice_api: Api, user: str, change: Callable[[str], str]
) -> None:
    done = skopeo(busybox_image, fresh["containerRegistry"], "bb:v1", user, change(token))
    assert done.returncode != 0 and "unauthorized" in done.stderr.lower(), done.stderr
    assert images_of(alice_api, fresh) == []


def test_a_bearer_token_is_no_password(fresh: Json, busybox_image: Image, alice_api: Api) -> None:
    done = skopeo(busybox_image, fresh["containerRegistry"], "bb:v1", "AWS", alice_api.bearer)
    assert done.returncode != 0


def test_a_token_opens_its_own_project_only(
    alice_api: Api,
    fresh: Json,
    token: str,
    busybox_image: Image,
    connect_as: Callable[[User], Api],
    stranger: User,
) -> None:
    theirs = connect_as(stranger).new_project("of strangers")
    for other in (alice_api.new_project("another of alice"), theirs):
        with pytest.raises(PushError):
            push(busybox_image, other["containerRegistry"], "bb:v1", token)
    push(busybox_image, fresh["containerRegistry"], "bb:v1", token)
    foreign = token_of(connect_as(stranger), theirs)
    source = f"docker://{fresh['containerRegistry']}bb:v1"
    for creds, expected in ((token, 0), (foreign, 1)):
        inspected = run("skopeo", "inspect", "--tls-verify=false", "--creds", f"AWS:{creds}", source)
        assert inspected.returncode == expected, inspected.stderr
    assert images_of(connect_as(stranger), theirs) == []


def test_the_registry_itself_is_closed(fresh: Json, token: str, busybox_image: Image) -> None:
    host, _, path = fresh["containerRegistry"].partition("/")
    push(busybox_image, fresh["containerRegistry"], "bb:v1", token)
    for url in (
        f"http://{host}/v2/",
        f"http://{host}/v2/_catalog",
        f"http://{host}/v2/{path}bb/manifests/v1",
    ):
        assert httpx.get(url, trust_env=False).status_code == 401
        basic = base64.b64encode(f"AWS:{token}".encode()).decode()
        direct = httpx.get(url, headers={"Authorization": f"Basic {basic}"}, trust_env=False)
        assert direct.status_code == 401, "the password is for the token endpoint"


def test_the_tag_is_pinned_at_submission(stack: Stack, alice_api: Api, fresh: Json, tmp_path: Path) -> None:
    old, new = build_busybox(tmp_path, "old", "old"), build_busybox(tmp_path, "new", "new")
    assert old.digest != new.digest
    alice_api.push(fresh, old, "app:v1")
    task = alice_api.new_task(fresh["projectId"], "pinned")
    task.submit(shell("sleep 300", size=stack.vcpus, image="app:v1"), group="fills the node")
    wait_until(task.counts, lambda counts: counts["RUNNING"] == stack.vcpus, 60)
    before = task.submit(batch(size=3, image="app:v1"), group="counted")[0]["parentJobId"]
    assert task.job(f"{before}:0")["status"] == "RUNNABLE"
    alice_api.push(fresh, new, "app:v1")
    after = task.submit(batch(size=3, image="app:v1"), group="counted")[0]["parentJobId"]
    assert task.api.post(f"{task.path}/jobs/cancel", params={"group": "fills the node"}).status_code == 200
    wait_until(lambda: task.jobs(group="counted", status="SUCCEEDED"), lambda jobs: len(jobs) == 6, 60)
    for parent, line in ((before, "old"), (after, "new")):
        assert [task.wait_for_line(f"{parent}:{n}", line) for n in range(3)] == [[line]] * 3
        assert {task.job(f"{parent}:{n}")["imageName"] for n in range(3)} == {"app:v1"}
