"""Where the jobs live: a project of the installation's first user, with an image that holds the worker."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.control_plane.stack import Stack
from openhtc.bench.figures import Say
from openhtc.client import HtcClient
from openhtc.client.models import Job, Summary
from openhtc.client.submissions import JobBatch, JobDefinition, RetryStrategy
from openhtc.domain.enums import JobStatus

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from images.busybox import add_skeleton

from openhtc.client.images.layer import Layer
from openhtc.client.images.layout import ImageConfig, write_layout
from openhtc.client.images.push import push

IMAGE = "worker:1"
WORKER = Path(__file__).with_name("worker.c")


class CannotBuild(Exception):
    """There is no C compiler, or it refuses."""


@dataclass(frozen=True, slots=True)
class Place:
    stack: Stack
    client: HtcClient
    project_id: str
    task_id: str

    def submit(self, batches: Sequence[JobBatch]) -> list[str]:
        """The batches' ids."""
        answer = self.client.submit(self.project_id, self.task_id, batches)
        return [batch.parent_job_id for batch in answer]

    def summary(self) -> Summary:
        return self.client.summary(self.project_id, self.task_id)

    def job(self, job_id: str) -> Job:
        return self.client.job(self.project_id, self.task_id, job_id)

    def ended(self) -> int:
        counts = self.summary().job_statuses
        return counts.get(JobStatus.SUCCEEDED, 0) + counts.get(JobStatus.FAILED, 0)


def batch(*words: str, size: int = 1, retries: int = 0, timeout_seconds: int = 3600) -> JobBatch:
    """Jobs that run the worker with these words."""
    definition = JobDefinition(
        image_name=IMAGE,
        commands=["/bin/worker", *words],
        max_vcpus=1,
        max_memory=64,
        max_disk_gib=1,
        exec_timeout_seconds=timeout_seconds,
    )
    return JobBatch(
        htc_job_definition=definition, batch_size=size, retry_strategy=RetryStrategy(max_retries=retries)
    )


def make_place(stack: Stack, name: str, say: Say) -> Place:
    """Raises CannotBuild. The client is to be closed."""
    client = HtcClient.from_credentials(stack.data / "credentials.json")
    project = client.create_project(name)
    say("building the worker and pushing its image")
    with tempfile.TemporaryDirectory() as folder:
        layer = Layer()
        add_skeleton(layer)
        layer.add_folder("bin")
        layer.add_file("bin/worker", compiled(WORKER, Path(folder, "worker")), 0o755)
        image = write_layout(Path(folder, "image"), "1", layer.pack(), ImageConfig(command=("/bin/worker",)))
        push(image, project.container_registry, IMAGE, client.registry_token(project.project_id))
    task = client.create_task(project.project_id, name)
    return Place(stack, client, project.project_id, task.task_id)


def compiled(source: Path, program: Path) -> bytes:
    """A static program for images. Raises CannotBuild."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotBuild("a C compiler is needed: apt-get install gcc libc6-dev")
    words = [
        compiler,
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-static",
        "-o",
        str(program),
        str(source),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBuild(done.stderr)
    return program.read_bytes()
