"""Where the jobs of a measurement live: a workspace in a region that only fake agents serve, its user, its image."""

import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.control_plane.stack import Stack
from openhtc.bench.figures import Say
from openhtc.bench.place import requests_for
from openhtc.client import HtcClient
from openhtc.client.models import Summary
from openhtc.client.submissions import JobBatch, JobDefinition
from openhtc.domain.enums import JobStatus
from openhtc.domain.regions import Region

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from images import busybox

from openhtc.client.images.push import push

REGION = Region.AWS_EU_CENTRAL_1
IMAGE = "noop:1"


class NotVerified(Exception):
    """The service counts something else than what the agents did: the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """One project, as its user sees it; and what agents need to serve its region."""

    stack: Stack
    client: HtcClient
    project_id: str
    agent_key: str
    tasks: list[str] = field(default_factory=list)

    def new_task(self, name: str) -> str:
        self.tasks.append(self.client.create_task(self.project_id, name).task_id)
        return self.tasks[-1]

    def submit(self, task_id: str, jobs: int) -> list[str]:
        """Submit in as few requests as the API allows; the batches' ids."""
        made: list[str] = []
        for sizes in requests_for(jobs):
            answer = self.client.submit(self.project_id, task_id, [self.batch(size) for size in sizes])
            made += [batch.parent_job_id for batch in answer]
        return made

    @staticmethod
    def batch(jobs: int) -> JobBatch:
        return JobBatch(htc_job_definition=_DEFINITION, batch_size=jobs)

    def summary(self, task_id: str) -> Summary:
        return self.client.summary(self.project_id, task_id)

    def verify(self, task_id: str, expected: dict[JobStatus, int]) -> None:
        """Raises NotVerified unless the summary has so many jobs in these statuses and none in others."""
        found = {each: count for each, count in self.summary(task_id).job_statuses.items() if count}
        if found != expected:
            raise NotVerified(f"expected {_counts(expected)}; the summary says {_counts(found)}")


_DEFINITION = JobDefinition(
    image_name=IMAGE, commands=["true"], max_vcpus=1, max_memory=64, max_disk_gib=1, exec_timeout_seconds=600
)


def _counts(jobs: dict[JobStatus, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in jobs.items()) or "no jobs"


@contextmanager
def opened(stack: Stack, say: Say) -> Iterator[Workplace]:
    """A workplace in a workspace of its own. Jobs that are left in a service that stays are cancelled."""
    say("making a workspace, a user and an image")
    stack.admin("regions", "set", REGION)
    workspace = stack.admin("workspaces", "create", "bench", "--region", REGION)["workspace_id"]
    email = f"bench-{secrets.token_hex(4)}@example.org"
    user = stack.admin("users", "create", email, "Bench", "--workspace", workspace)["user_id"]
    key = stack.admin("keys", "create", "--user", user)["key"]
    agent_key = stack.admin("keys", "create", "--kind", "agent")["key"]
    with HtcClient(stack.base_url, key) as client, tempfile.TemporaryDirectory() as folder:
        project = client.create_project("bench")
        image = busybox.build(Path(folder, "image"))
        push(image, project.container_registry, IMAGE, client.registry_token(project.project_id))
        place = Workplace(stack, client, project.project_id, agent_key)
        try:
            yield place
        finally:
            for task in place.tasks if stack.stays else []:
                client.cancel(project.project_id, task)
