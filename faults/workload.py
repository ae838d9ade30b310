"""What the jobs do, known beforehand, and their submission while the service suffers."""

import threading
import time
from dataclasses import dataclass, field
from random import Random

from faults.place import IMAGE, Place
from openhtc.client import HtcError
from openhtc.client.submissions import JobBatch, JobDefinition, RetryStrategy
from openhtc.domain.enums import Priority

QUEUED = 400
"""Unfinished jobs that are kept waiting at least."""
_GROUPS_CANCELLED = 0.04
_CANCEL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Of the jobs of one batch. Attempts up to ``fails`` end with exit code 3."""

    milliseconds: int
    lines: int
    fails: int
    max_retries: int
    size: int
    limited: bool
    economy: bool
    cancelled: bool


@dataclass
class Submitted:
    """What was answered with 200. ``unknown`` requests got no answer: they may have been accepted, or not."""

    batches: dict[str, Plan] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    """Task by project."""
    cancelled_at: dict[str, float] = field(default_factory=dict)
    """By group, when the cancellation was answered."""
    groups: dict[str, str] = field(default_factory=dict)
    """By batch."""
    unknown: int = 0

    @property
    def jobs(self) -> int:
        return sum(plan.size for plan in self.batches.values())


def plan_of(random: Random) -> Plan:
    milliseconds = random.choice(
        [random.randint(0, 50)] * 6 + [random.randint(50, 500)] * 3 + [random.randint(500, 3000)]
    )
    fails = random.choices([0, 1, 2], [85, 10, 5])[0]
    return Plan(
        milliseconds=milliseconds,
        lines=random.choice([0, 1, 10, 10, 200]),
        fails=fails,
        max_retries=random.choice([1, 3]),
        size=random.randint(10, 50),
        limited=random.random() < 0.1,
        economy=random.random() < 0.3,
        cancelled=random.random() < _GROUPS_CANCELLED,
    )


class Submitter:
    """Keeps a queue of jobs until it is told to stop, whatever happens to the service."""

    def __init__(self, place: Place, seed: int) -> None:
        self.submitted = Submitted()
        self._place = place
        self._random = Random(seed)  # noqa: S311 - repeatable, no secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="submitter", daemon=True)
        for project in (place.project_id, place.limited_id):
            self.submitted.tasks[project] = place.client.create_task(project, "faults").task_id
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def unfinished(self) -> int:
        """Raises HtcError."""
        client, tasks = self._place.client, self.submitted.tasks
        return sum(client.summary(project, task).unfinished for project, task in tasks.items())

    def _run(self) -> None:
        cancel: list[tuple[float, str, str]] = []
        while not self._stop.is_set():
            try:
                while cancel and time.monotonic() >= cancel[0][0]:
                    self._cancel(*cancel[0][1:])
                    cancel.pop(0)
                if self.unfinished() >= QUEUED:
                    self._stop.wait(0.2)
                    continue
                plan = plan_of(self._random)
                project, group = self._submit(plan)
                if plan.cancelled:
                    cancel.append((time.monotonic() + _CANCEL_SECONDS, project, group))
            except HtcError:
                self._stop.wait(0.2)

    def _submit(self, plan: Plan) -> tuple[str, str]:
        place, submitted = self._place, self.submitted
        project = place.limited_id if plan.limited else place.project_id
        group = f"g{len(submitted.batches) + submitted.unknown}"
        definition = JobDefinition(
            image_name=IMAGE,
            commands=[
                "/bin/worker",
                str(place.ledger.port),
                str(plan.milliseconds),
                str(plan.lines),
                str(plan.fails),
            ],
            max_vcpus=1,
            max_memory=64,
            max_disk_gib=1,
            exec_timeout_seconds=600,
            priority=Priority.ON_DEMAND_ECONOMY if plan.economy else Priority.ON_DEMAND_PRIORITY,
        )
        element = JobBatch(
            htc_job_definition=definition,
            batch_size=plan.size,
            retry_strategy=RetryStrategy(max_retries=plan.max_retries),
        )
        try:
            (answer,) = place.client.submit(project, submitted.tasks[project], [element], group=group)
        except HtcError:
            submitted.unknown += 1
            raise
        submitted.batches[answer.parent_job_id] = plan
        submitted.groups[answer.parent_job_id] = group
        return project, group

    def _cancel(self, project: str, group: str) -> None:
        self._place.client.cancel(project, self.submitted.tasks[project], group=group)
        self.submitted.cancelled_at[group] = time.time()
