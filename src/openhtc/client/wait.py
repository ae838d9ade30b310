"""Waiting for jobs, with questions as often as their progress deserves."""

import time
from collections.abc import Callable, Iterator

from openhtc.client.htc import HtcClient
from openhtc.client.models import Summary

MIN_SECONDS = 0.2
MAX_SECONDS = 5.0
_WANTED_PROGRESS = 0.02
"""Fraction of all jobs that should finish between two questions."""


def watch(
    ask: Callable[[], Summary],
    *,
    timeout_seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Summary]:
    """Yield summaries until no job is unfinished; the last one says so.

    Raises TimeoutError, with the last summary in its text, when timeout_seconds pass before that.
    """
    deadline = None if timeout_seconds is None else clock() + timeout_seconds
    interval = MIN_SECONDS
    before: Summary | None = None
    while True:
        summary = ask()
        yield summary
        if summary.unfinished == 0:
            return
        interval = next_interval(interval, before, summary)
        before = summary
        if deadline is not None and clock() + interval > deadline:
            raise TimeoutError(
                f"{summary.unfinished} of {summary.total} jobs are unfinished after {timeout_seconds} s: "
                f"{_counts(summary)}"
            )
        sleep(interval)


def watch_task(
    client: HtcClient, project_id: str, task_id: str, *, timeout_seconds: float | None = None
) -> Iterator[Summary]:
    """Watch all jobs of a task."""
    return watch(lambda: client.summary(project_id, task_id), timeout_seconds=timeout_seconds)


def watch_group(
    client: HtcClient, project_id: str, task_id: str, group: str, *, timeout_seconds: float | None = None
) -> Iterator[Summary]:
    """Watch the jobs of one group; a group that does not exist has none."""

    def ask() -> Summary:
        return next(client.group_summaries(project_id, task_id, [group]), Summary({}, group))

    return watch(ask, timeout_seconds=timeout_seconds)


def next_interval(interval: float, before: Summary | None, now: Summary) -> float:
    """Seconds until the next question, given the ones before this one and what changed meanwhile."""
    if before is None or now.total == 0:
        return MIN_SECONDS
    gained = (now.finished - before.finished) / now.total
    if gained <= 0:
        return min(interval * 1.5, MAX_SECONDS)
    wanted = interval * _WANTED_PROGRESS / gained
    remaining = interval * now.unfinished / now.total / gained
    eased = min(max(wanted, interval / 2), interval * 2)
    return min(max(min(eased, remaining), MIN_SECONDS), MAX_SECONDS)


def _counts(summary: Summary) -> str:
    return ", ".join(f"{count} {status}" for status, count in summary.job_statuses.items() if count)
