"""The whole service as `openhtc up` starts it, with users that `openhtc admin` made, for tests to talk to."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from openhtc.embedded.child import read_record
from openhtc.embedded.ports import choose
from openhtc.lifecycle.identity import ProcessIdentity

from .description import check_answer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from images import busybox

from openhtc.client.images import layout
from openhtc.client.images import push as pushing

Json = dict[str, Any]
T = TypeVar("T")

Image = layout.Image
push, PushError = pushing.push, pushing.PushError

IMAGE = "bb:v1"
"""What the tests' projects hold: busybox, saying hello by default."""
STATUSES = (
    "SUBMITTED_TO_RESCALE",
    "SUBMITTED_TO_PROVIDER",
    "RUNNABLE",
    "STARTING",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
)
_TAIL_LINES = 25


def wait_until(what: Callable[[], T], expected: Callable[[T], bool], seconds: float, pause: float = 0.2) -> T:
    """The first answer of ``what`` that is as expected; fails with the last one seen after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not expected(seen := what()):
        if time.monotonic() > deadline:
            pytest.fail(f"not as expected within {seconds:g} s; last seen: {seen!r}")
        time.sleep(pause)
    return seen


@dataclass(frozen=True)
class User:
    """Somebody with an API key."""

    id: str
    workspace_id: str
    email: str
    full_name: str
    api_key: str


@dataclass
class Stack:
    """One installation in a directory of its own below /tmp, where the database's user may pass."""

    vcpus: int = 8
    data: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="openhtc-test-"), "data"))
    port: int = field(default_factory=lambda: choose(set()))

    def __post_init__(self) -> None:
        self.data.parent.chmod(0o711)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def agents_url(self) -> str:
        """Of the server that agents speak to."""
        return str(tomllib.loads((self.data / "agent.toml").read_text())["server_url"])

    def command(self, *arguments: str, seconds: float = 150) -> str:
        """Run `openhtc` on this installation; its standard output. Fails with all it said."""
        done = subprocess.run(
            [sys.executable, "-m", "openhtc.cli.main", *arguments, "--data", str(self.data)],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode != 0:
            pytest.fail(f"openhtc {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.log_tails()}")
        return done.stdout

    def up(self) -> None:
        self.command("up", "--port", str(self.port), "--vcpus", str(self.vcpus), "--detach")

    def destroy(self) -> None:
        """Stop everything and remove the directory, whatever state it is in."""
        try:
            self.command("down", "--timeout", "40")
        finally:
            for part in ("supervisor", "agent", "agent-server", "server", "registry", "s3", "postgres"):
                self._end(part)
            shutil.rmtree(self.data.parent, ignore_errors=True)

    def process(self, part: str) -> ProcessIdentity | None:
        record = read_record(self.data / "run" / f"{part}.json")
        return None if record is None else record.identity

    def kill(self, part: str) -> None:
        """SIGKILL a part and see it gone."""
        found = self.process(part)
        assert found is not None, f"{part} does not run"
        found.signal(signal.SIGKILL)
        assert found.wait_gone(10), f"{part} survived"

    def _end(self, part: str) -> None:
        found = self.process(part)
        if found is not None and found.is_alive():
            found.signal(signal.SIGKILL)

    @property
    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data / "credentials.json").read_bytes())
        return found

    def admin(self, *arguments: str) -> Json:
        found: Json = json.loads(self.command("admin", *arguments))
        return found

    def new_workspace(self, name: str, *regions: str) -> str:
        for region in regions:
            self.admin("regions", "set", region)
        named = [argument for region in regions for argument in ("--region", region)]
        return str(self.admin("workspaces", "create", name, *named)["workspace_id"])

    def new_user(self, name: str, workspace_id: str = "", *roles: str) -> User:
        """``roles`` are options of `admin users create`, like ``--workspace-admin``."""
        workspace = workspace_id or self.credentials["workspace_id"]
        email, full_name = f"{name}@example.org", f"{name.capitalize()} Example"
        made = self.admin("users", "create", email, full_name, "--workspace", workspace, *roles)
        user_id = str(made["user_id"])
        return User(user_id, workspace, email, full_name, self.new_key(user_id))

    def new_key(self, user_id: str, kind: str = "api") -> str:
        return str(self.admin("keys", "create", "--user", user_id, "--kind", kind)["key"])

    def log_tails(self) -> str:
        """The last lines of every log."""
        parts = []
        for log in sorted((self.data / "logs").glob("*")):
            lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            parts += [f"--- {log.name}", *(line[:1500] for line in lines)]
        return "\n".join(parts)


def bearer_of(stack: Stack, api_key: str, scheme: str = "Token") -> str:
    """A bearer token for a key."""
    url = f"{stack.base_url}/auth/token"
    answer = httpx.get(url, headers={"Authorization": f"{scheme} {api_key}"}, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["tokenValue"])


class Api(httpx.Client):
    """Plain HTTP as one identity; paths are those after /api/v1. Every answer is held against the description."""

    def __init__(self, stack: Stack, bearer: str, *, base_url: str = "") -> None:
        super().__init__(
            base_url=base_url or stack.base_url,
            headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
            timeout=60,
            trust_env=False,
            event_hooks={"response": [check_answer]},
        )
        self.bearer = bearer

    def new_project(self, name: str = "a project", **members: Any) -> Json:
        body = {"projectName": name, "projectDescription": "", **members}
        made: Json = ok(self.post("/htc/projects", json=body))
        return made

    def new_task(self, project_id: str, name: str = "a task") -> "Task":
        body = {"taskName": name, "taskDescription": ""}
        made = ok(self.post(f"/htc/projects/{project_id}/tasks", json=body))
        return Task(self, project_id, made["taskId"])

    def push(self, project: Json, image: Image, name: str) -> None:
        """Push with a registry token of this identity."""
        token = self.get(f"/htc/projects/{project['projectId']}/container-registry/token")
        assert token.status_code == 200, token.text
        push(image, project["containerRegistry"], name, token.text)


def ok(answer: httpx.Response) -> Any:
    """The body of an answer that must be a 200."""
    assert answer.status_code == 200, f"{answer.request.method} {answer.url}: {answer.text}"
    return answer.json()


def batch(*commands: str, size: int = 1, image: str = IMAGE, **definition: Any) -> Json:
    """One element of a submission, small enough that many run at once."""
    small = {"maxVCpus": 1, "maxMemory": 64, "maxDiskGiB": 1, "execTimeoutSeconds": 600}
    named = {"imageName": image, "commands": list(commands)}
    return {"batchSize": size, "htcJobDefinition": {**small, **named, **definition}}


def shell(script: str, **more: Any) -> Json:
    return batch("sh", "-c", script, **more)


@dataclass
class Task:
    """A task as its user sees it over HTTP."""

    api: Api
    project_id: str
    task_id: str

    @property
    def path(self) -> str:
        return f"/htc/projects/{self.project_id}/tasks/{self.task_id}"

    def submit(self, *elements: Json, group: str = "") -> list[Json]:
        answer = self.api.post(
            f"{self.path}/jobs/batch", json=list(elements), params={"group": group} if group else {}
        )
        assert answer.status_code == 200, answer.text
        found: list[Json] = answer.json()
        return found

    def submit_one(self, element: Json) -> str:
        """The id of the only job of one batch."""
        return f"{self.submit(element)[0]['parentJobId']}:0"

    def cancel(self) -> None:
        assert self.api.post(f"{self.path}/jobs/cancel").status_code == 200

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = ok(self.api.get(f"{self.path}/summary-statistics"))["jobStatuses"]
        return found

    def job(self, job_id: str) -> Json:
        found: Json = ok(self.api.get(f"{self.path}/jobs/{job_id}"))
        return found

    def jobs(self, **params: Any) -> list[Json]:
        return list(pages(self.api, f"{self.path}/jobs", **params))

    def events(self, job_id: str) -> list[Json]:
        return list(pages(self.api, f"{self.path}/jobs/{job_id}/events"))

    def log(self, job_id: str) -> list[str]:
        """Every line, oldest first."""
        params = {"sort": "asc", "pageSize": 10000}
        return [line["message"] for line in pages(self.api, f"{self.path}/jobs/{job_id}/logs", **params)]

    def wait_for(self, job_id: str, status: str, seconds: float = 60) -> Json:
        return wait_until(lambda: self.job(job_id), lambda job: job["status"] == status, seconds)

    def wait_for_end(self, seconds: float = 60) -> dict[str, int]:
        """The counts when every job has ended."""
        return wait_until(self.counts, ended, seconds)

    def wait_for_line(self, job_id: str, line: str, seconds: float = 60) -> list[str]:
        return wait_until(lambda: self.log(job_id), lambda lines: line in lines, seconds)


def ended(counts: dict[str, int]) -> bool:
    return all(count == 0 for status, count in counts.items() if status not in ("SUCCEEDED", "FAILED"))


def pages(api: Api, path: str, **params: Any) -> Iterator[Json]:
    """Every item of a listing, page after page."""
    answer = ok(api.get(path, params=params))
    yield from answer["items"]
    while "next" in answer:
        answer = ok(api.get(answer["next"]))
        yield from answer["items"]


def build_busybox(folder: Path, tag: str = "1", says: str = "") -> Image:
    """A busybox image; with ``says`` its default command prints that."""
    config = layout.ImageConfig(command=("sh", "-c", f"echo {says}")) if says else None
    return busybox.build(folder / f"busybox-{tag}", tag, config)


def run(*command: str | os.PathLike[str], env: dict[str, str] | None = None, **more: Any) -> Any:
    """A program, its output as text, its failure for the caller to judge."""
    full = None if env is None else {**os.environ, **env}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=full, **more)
