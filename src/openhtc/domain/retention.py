"""How long things are kept, and which changes of a task's state are possible."""

from datetime import timedelta

from openhtc.domain.enums import LifecycleStatus
from openhtc.domain.errors import InvalidRequest

JOBS_KEPT = timedelta(days=60)
"""Jobs are removed this long after their end, with their events and their log."""
LATE_WRITES = timedelta(hours=13)
"""Temporary keys live at most 12 hours: who had some when a task was deleted may write until they end."""
MAX_HOURS = 2**31 - 1


def check_change(state: LifecycleStatus, wanted: LifecycleStatus, unfinished: int) -> None:
    """Raises InvalidRequest for what people may not do; ``unfinished`` counts the task's jobs that have not ended."""
    if state is LifecycleStatus.DELETED:
        raise InvalidRequest("lifecycleStatus: the task is DELETED, which is final", code="TASK_DELETED")
    if wanted is LifecycleStatus.DELETED:
        raise InvalidRequest(
            "lifecycleStatus: DELETED cannot be set, expected ARCHIVED or ACTIVE; the method DELETE deletes tasks"
        )
    if wanted is state:
        other = LifecycleStatus.ACTIVE if state is LifecycleStatus.ARCHIVED else LifecycleStatus.ARCHIVED
        raise InvalidRequest(f"lifecycleStatus: the task is {state} already, expected {other}")
    if wanted is LifecycleStatus.ARCHIVED and unfinished:
        raise InvalidRequest(
            f"lifecycleStatus: ARCHIVED is for tasks without unfinished jobs, and {unfinished} of this task's have not "
            "ended: wait for them or cancel them",
            code="TASK_HAS_UNFINISHED_JOBS",
        )
