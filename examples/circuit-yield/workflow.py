"""The demo as a user of the API: project, image, task, jobs, results."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from openhtc.client import HtcClient, HtcError, JobBatch, JobDefinition, RetryStrategy, watch_task
from openhtc.client.images.layout import Image
from openhtc.client.images.push import push
from openhtc.client.models import Job, Project, Summary, Task
from openhtc.domain.enums import ImageState, JobStatus

PROJECT_NAME = "circuit-yield"
REPOSITORY = "ngspice-yield"
MAX_JOBS = 1_000
"""Rows of the table, and the API's limit of one batch."""


@dataclass(frozen=True)
class Run:
    """One submission, watched to its end. seconds counts from the submission to the last job's end."""

    project: Project
    task: Task
    summary: Summary
    seconds: float

    @property
    def jobs_per_second(self) -> float:
        return self.summary.total / self.seconds


def ensure_project(client: HtcClient) -> Project:
    """The demo's project; made once, then found again."""
    for project in client.projects(only_mine=True):
        if project.project_name == PROJECT_NAME:
            return project
    return client.create_project(PROJECT_NAME, "Yield of an operational amplifier by Monte Carlo")


def ensure_image(client: HtcClient, project: Project, image: Image) -> str:
    """The name under which the project's registry has the image; pushed unless it is there."""
    name = f"{REPOSITORY}:{image.digest.removeprefix('sha256:')[:12]}"
    with suppress(HtcError):
        if client.image_status(project.project_id, name) is ImageState.READY:
            return name
    client.create_repository(project.project_id, REPOSITORY)
    push(image, project.container_registry, name, client.registry_token(project.project_id))
    return name


def run_jobs(
    client: HtcClient, project: Project, image_name: str, count: int, show: Callable[[Summary], None]
) -> Run:
    """Submit ``count`` jobs as one batch of a new task and watch them until all have ended.

    An interrupt cancels what has not ended.
    """
    task = client.create_task(project.project_id, f"{count} circuits", time.strftime("%Y-%m-%d %H:%M:%S"))
    definition = JobDefinition(
        image_name=image_name, max_vcpus=1, max_memory=128, max_disk_gib=1, exec_timeout_seconds=300
    )
    batch = JobBatch(
        htc_job_definition=definition,
        job_name="monte-carlo",
        batch_size=count,
        retry_strategy=RetryStrategy(max_retries=2),
    )
    started = time.monotonic()
    client.submit(project.project_id, task.task_id, [batch])
    summary = Summary({})
    try:
        for summary in watch_task(client, project.project_id, task.task_id):
            show(summary)
    except KeyboardInterrupt:
        client.cancel(project.project_id, task.task_id)
        raise
    return Run(project, task, summary, time.monotonic() - started)


def failed_jobs(client: HtcClient, run: Run, limit: int = 3) -> list[tuple[Job, list[str]]]:
    """The first failed jobs with the last lines of their logs."""
    found = []
    for job in client.jobs(run.project.project_id, run.task.task_id, status=JobStatus.FAILED):
        lines = client.logs(run.project.project_id, run.task.task_id, job.job_uuid)
        found.append((job, [line.message for line in lines][-5:]))
        if len(found) == limit:
            break
    return found


def fetch_results(client: HtcClient, run: Run) -> list[dict[str, float]]:
    """Every job's result from the task's storage, by index, read with the task's temporary keys."""
    project_id, task_id = run.project.project_id, run.task.task_id
    token = client.task_storage_token(project_id, task_id)
    signed = urlsplit(client.presigned_put(project_id, "results/unused", task_id).url)
    keys = token.credentials
    store = S3Store(
        token.storage_name,
        endpoint=f"{signed.scheme}://{signed.netloc}",
        region=keys.get("AWS_REGION", "us-east-1"),
        access_key_id=keys["AWS_ACCESS_KEY_ID"],
        secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        session_token=keys["AWS_SESSION_TOKEN"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": signed.scheme == "http"},
    )
    folder = urlsplit(token.storage_path).path.strip("/") or run.task.task_folder_path.strip("/")
    results = asyncio.run(_read_all(store, f"{folder}/results/"))
    return sorted(results, key=lambda each: each["index"])


async def _read_all(store: S3Store, prefix: str, at_once: int = 32) -> list[dict[str, float]]:
    turn = asyncio.Semaphore(at_once)

    async def read(key: str) -> dict[str, float]:
        async with turn:
            found = await obstore.get_async(store, key)
            return dict(json.loads(bytes(await found.bytes_async())))

    results: list[dict[str, float]] = []
    async for page in obstore.list(store, prefix=prefix):
        results += await asyncio.gather(*(read(found["path"]) for found in page))
    return results
