"""Where the jobs of a measurement live: a project of its own, with a small image."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from openhtc.bench import image
from openhtc.bench.figures import Say
from openhtc.client import HtcClient, HtcError
from openhtc.client.images.push import push
from openhtc.client.models import Job, Project, Summary
from openhtc.client.submissions import JobBatch, JobDefinition
from openhtc.domain.enums import ImageState
from openhtc.domain.errors import OpenhtcError

PROJECT = "openhtc bench"
MAX_BATCH = 1000
MAX_BATCHES = 100
STUCK_SECONDS = 60.0
POLL_SECONDS = 0.05
_IMAGE_SECONDS = 60.0


class BenchFailed(OpenhtcError):
    """Jobs failed, or do not go on: the figures mean nothing."""

    code = "BENCH_FAILED"


@dataclass(frozen=True, slots=True)
class Place:
    client: HtcClient
    project: Project
    image: str
    regions: tuple[str, ...] = ()
    """Where jobs are submitted to; the service chooses when empty."""
    tasks: list[str] = field(default_factory=list)

    def new_task(self, name: str) -> str:
        self.tasks.append(self.client.create_task(self.project.project_id, name).task_id)
        return self.tasks[-1]

    def submit(self, task_id: str, jobs: int, command: Sequence[str] = ("/bin/true",)) -> list[str]:
        """Submit in as few requests as the API allows; the batches' ids."""
        definition = JobDefinition(
            image_name=self.image,
            commands=list(command),
            max_vcpus=1,
            max_memory=64,
            max_disk_gib=1,
            exec_timeout_seconds=600,
        )
        made: list[str] = []
        for sizes in requests_for(jobs):
            elements = [
                JobBatch(htc_job_definition=definition, batch_size=size, regions=list(self.regions))
                for size in sizes
            ]
            answer = self.client.submit(self.project.project_id, task_id, elements)
            made += [batch.parent_job_id for batch in answer]
        return made

    def summary(self, task_id: str) -> Summary:
        return self.client.summary(self.project.project_id, task_id)

    def job(self, task_id: str, job_id: str) -> Job:
        return self.client.job(self.project.project_id, task_id, job_id)

    def jobs(self, task_id: str) -> Iterator[Job]:
        return self.client.jobs(self.project.project_id, task_id)

    def wait(self, task_id: str, ended: int, *, poll_seconds: float = POLL_SECONDS) -> Summary:
        """Until so many jobs of the task have ended. Raises BenchFailed when one fails or none ends any more."""
        before, moved_at = -1, time.monotonic()
        while (now := self.summary(task_id)).finished < ended:
            if now.failed:
                break
            if now.finished > before:
                before, moved_at = now.finished, time.monotonic()
            elif time.monotonic() - moved_at > STUCK_SECONDS:
                raise BenchFailed(f"no job has ended for {STUCK_SECONDS:.0f} s: {_counts(now)}")
            time.sleep(poll_seconds)
        if now.failed:
            raise BenchFailed(f"jobs that cannot fail have failed: {_counts(now)}")
        return now

    def settle(self, task_id: str) -> None:
        """Until nothing of the task goes on, whatever became of it. Raises BenchFailed when something does."""
        until = time.monotonic() + STUCK_SECONDS
        while left := self.summary(task_id).unfinished:
            if time.monotonic() > until:
                raise BenchFailed(f"{left} jobs go on {STUCK_SECONDS:.0f} s after they were cancelled")
            time.sleep(POLL_SECONDS)

    def leave(self) -> None:
        """Delete every task with its jobs; one that cannot be deleted is cancelled at least."""
        for task_id in self.tasks:
            with suppress(HtcError):
                self.client.cancel(self.project.project_id, task_id)
            with suppress(HtcError):
                self.client.delete_task(self.project.project_id, task_id)
        self.tasks.clear()


@contextmanager
def opened(client: HtcClient, say: Say, regions: Sequence[str] = ()) -> Iterator[Place]:
    """A place in the project of former measurements, or a new one. Its tasks are deleted at the end."""
    project = next((one for one in client.projects(only_mine=True) if one.project_name == PROJECT), None)
    if project is None:
        project = client.create_project(PROJECT, "Jobs that measure the service")
    place = Place(client, project, _push_image(client, project, say), tuple(regions))
    try:
        yield place
    finally:
        say("deleting what was made")
        place.leave()


def _push_image(client: HtcClient, project: Project, say: Say) -> str:
    """The name of the image in the project's registry, pushed unless it is there."""
    with tempfile.TemporaryDirectory() as folder:
        made = image.build(Path(folder, "image"))
        name = f"bench:{made.digest.partition(':')[2][:16]}"
        if _is_there(client, project.project_id, name):
            return name
        say("pushing the image")
        push(made, project.container_registry, name, client.registry_token(project.project_id))
    until = time.monotonic() + _IMAGE_SECONDS
    while not _is_there(client, project.project_id, name):
        if time.monotonic() > until:
            raise BenchFailed(f"the image {name} is not ready {_IMAGE_SECONDS:.0f} s after it was pushed")
        time.sleep(0.2)
    return name


def _is_there(client: HtcClient, project_id: str, name: str) -> bool:
    try:
        return client.image_status(project_id, name) is ImageState.READY
    except HtcError as error:
        if error.status != 404:
            raise
        return False


def requests_for(jobs: int) -> Iterator[list[int]]:
    """The batch sizes of each request that a number of jobs needs."""
    while jobs > 0:
        batches = min(MAX_BATCHES, -(-jobs // MAX_BATCH))
        sizes = [MAX_BATCH] * batches
        sizes[-1] = min(MAX_BATCH, jobs - MAX_BATCH * (batches - 1))
        yield sizes
        jobs -= sum(sizes)


def _counts(summary: Summary) -> str:
    return ", ".join(f"{count} {status}" for status, count in summary.job_statuses.items() if count)


def epoch_seconds(moment: datetime | None) -> float:
    """Raises BenchFailed where an ended job has no time of its start or end."""
    if moment is None:
        raise BenchFailed("a job that ran has no time of its start or end")
    return moment.timestamp()
