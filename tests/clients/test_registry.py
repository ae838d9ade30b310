"""P10 and P11: repositories and images."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rescalehtc import HtcSession, api, container_registry
from rescalehtc.exceptions import HtcException
from rescalehtc.htcprojects import HtcProject

from ..stack import Image, run

# What the client asks of `docker`, done by podman, whose answers to `images` have another form.
DOCKER = """#!/bin/sh -e
podman() {{ command podman --root {root} --runroot {run} --storage-driver vfs --events-backend none "$@"; }}
case $1 in
images)
    for name; do :; done
    echo "{{\\"ID\\":\\"sha256:$(podman image inspect --format '{{{{.Id}}}}' "$name")\\"}}" ;;
login)
    registry=${{2%/}}; shift 2
    podman login --tls-verify=false --authfile {auth} "$@" "$registry" ;;
tag)
    podman "$@" ;;
push)
    podman push --quiet --tls-verify=false --authfile {auth} "$2" ;;
*)
    echo "docker $*: not what the client is known to ask" >&2; exit 64 ;;
esac
"""


@pytest.fixture
def new_project(htc: HtcSession) -> HtcProject:
    body = {"projectName": "images", "projectDescription": ""}
    return HtcProject(api.post_htc_projects(htc, body))


@pytest.fixture
def local_image(
    busybox_image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """The name and the id of an image that `docker` on the PATH knows."""
    short = Path(tempfile.mkdtemp(prefix="podman-"))  # podman takes no long path for its runroot
    root, running = short / "root", short / "run"
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(root=root, run=running, auth=tmp_path / "auth.json"))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    podman = ("podman", "--root", root, "--runroot", running, "--storage-driver", "vfs")
    pulled = run(*podman, "pull", "--quiet", f"oci:{busybox_image.layout}:{busybox_image.tag}")
    assert pulled.returncode == 0, pulled.stderr
    image_id = pulled.stdout.strip()
    tagged = run(*podman, "tag", image_id, "local/app:dev")
    assert tagged.returncode == 0, tagged.stderr
    yield "local/app:dev", image_id
    run(*podman, "rmi", "--all", "--force")
    shutil.rmtree(short, ignore_errors=True)


def test_p10_repositories_and_images(
    htc: HtcSession,
    new_project: HtcProject,
    busybox_image: Image,
    push_image: Callable[[HtcProject, Image, str], None],
) -> None:
    registry = container_registry.get_container_registry(htc, new_project)
    assert registry.username == "AWS"
    first, second = (registry.create_repo(htc, "team/app") for _ in range(2))
    assert (first["successfullyCreated"], second["successfullyCreated"]) == (True, False)
    assert first["repositoryName"] == "team/app"
    assert first["registryURI"] == new_project.json["containerRegistry"]
    assert registry.get_repos(htc) == ["team/app"]
    assert registry.get_images(htc) == []
    with pytest.raises(HtcException) as refused:
        registry.get_image(htc, "team/app:v1")
    assert refused.value.status_code == 404
    assert "IMAGE_UNAVAILABLE" in str(refused.value)
    push_image(new_project, busybox_image, "team/app:v1")
    assert registry.get_images(htc) == ["team/app:v1"]
    assert registry.get_image(htc, "team/app:v1") == {"status": "READY"}
    assert registry.is_image_ready(htc, "team/app:v1")


def test_p11_push_docker_image(
    htc: HtcSession, new_project: HtcProject, local_image: tuple[str, str]
) -> None:
    name, image_id = local_image
    registry = container_registry.get_container_registry(htc, new_project)
    pushed = registry.push_docker_image(htc, name, quiet=True)
    assert pushed == f"local/app:dev-{image_id[:10]}"
    assert registry.get_images(htc) == [pushed]
    assert registry.is_image_ready(htc, pushed)
    assert registry.get_repos(htc) == ["local/app"]
