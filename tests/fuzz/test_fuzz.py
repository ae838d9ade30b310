"""schemathesis against our own description: all its checks, with its stateful phase.

`make fuzz` makes many more cases than a run of the tests does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..stack import IMAGE, Api, Json, Stack, User

EXAMPLES = int(os.environ.get("OPENHTC_FUZZ_EXAMPLES", "6"))
"""Cases for each operation in the phase of random ones; the other phases make their own number."""
SEED = os.environ.get("OPENHTC_FUZZ_SEED", "1")
ENOUGH = {6: 1500, 150: 5000}
"""Cases that a run of so many examples makes at least."""

DEPENDS_ON_STATE = (
    "/htc/projects",  # regions must be enabled; a page's index is one that we gave
    "/htc/projects/{project_id}",
    "/htc/projects/{project_id}/dimensions",
    "/htc/projects/{project_id}/tasks",
    "/htc/projects/{project_id}/tasks/{task_id}",  # not every state follows every other one
    "/htc/projects/{project_id}/tasks/{task_id}/group-summary-statistics",
    "/htc/projects/{project_id}/tasks/{task_id}/groups",
    "/htc/projects/{project_id}/tasks/{task_id}/jobs",
    "/htc/projects/{project_id}/tasks/{task_id}/jobs/batch",  # the image must be there, the task active
    "/htc/projects/{project_id}/tasks/{task_id}/jobs/cancel",
    "/htc/projects/{project_id}/tasks/{task_id}/jobs/{job_id}/events",
    "/htc/projects/{project_id}/tasks/{task_id}/jobs/{job_id}/logs",
    "/htc/projects/{project_id}/storage/presigned-url",  # characters that keys of objects do not have
    "/htc/projects/{project_id}/tasks/{task_id}/storage/presigned-url",
    "/htc/projects/{project_id}/tasks/{task_id}/storage/token",  # refused for deleted tasks
    "/htc/projects/{project_id}/tasks/{task_id}/storage/token/{region}",
    "/htc/projects/{project_id}/tasks/{task_id}/storage/tokens",
    "/htc/projects/{project_id}/tasks/{task_id}/storage/regional-storage",
    "/htc/projects/{project_id}/container-registry/repo/{repo_name}",  # names follow a pattern
    "/oauth2/token",  # whether a secret is right
)
"""Operations that may refuse with 400 what the schema allows, because of something that is stored."""


def settings(api_key: str, project_id: str, task_id: str) -> str:
    """schemathesis.toml: which header goes where, ids that exist, and where a 400 is no surprise."""
    parts = [
        f'parameters = {{ project_id = "{project_id}", task_id = "{task_id}" }}',
        "[checks.positive_data_acceptance]",
        'expected-statuses = ["2xx", 401, 403, 404, 413, 503]',
        "[[operations]]",
        'include-path-regex = "/auth/(token|whoami)$"',
        f'headers = {{ Authorization = "Token {api_key}" }}',
    ]
    for path in DEPENDS_ON_STATE:
        parts += [
            "[[operations]]",
            f'include-path = "/api/v1{path}"',
            "[operations.checks.positive_data_acceptance]",
            'expected-statuses = ["2xx", 400, 401, 403, 404, 413, 503]',
        ]
    return "\n".join(parts) + "\n"


def run_schemathesis(folder: Path, stack: Stack, bearer: str) -> dict[str, Any]:
    """The report of a run; what it printed lies beside it."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{stack.root_url}/q/openapi",
        *("-H", f"Authorization: Bearer {bearer}"),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-examples", str(EXAMPLES), "--seed", SEED, "-w", "2"),
        *("--continue-on-failure", "--request-timeout", "60"),
        *("--report", "json", "--report-json-path", "report.json"),
    ]
    with (folder / "output").open("wb") as output:
        subprocess.run(command, cwd=folder, stdout=output, stderr=output, check=False, timeout=3000)
    print((folder / "output").read_text()[-6000:])
    report: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return report


@pytest.mark.timeout(3100)
def test_no_answer_is_a_surprise(
    stack: Stack, alice: User, alice_api: Api, busybox_image: Any, tmp_path: Path
) -> None:
    project: Json = alice_api.new_project("for the fuzzer")
    alice_api.push(project, busybox_image, IMAGE)
    task = alice_api.new_task(project["projectId"])
    (tmp_path / "schemathesis.toml").write_text(settings(alice.api_key, task.project_id, task.task_id))
    report = run_schemathesis(tmp_path, stack, alice_api.bearer)
    assert report["failures"] == [], f"{tmp_path / 'output'} tells how to repeat them"
    assert report["errors"] == []
    assert report["operations"]["tested"] == report["operations"]["total"] >= 56
    assert report["test_cases"]["generated"] >= ENOUGH.get(EXAMPLES, 0)
