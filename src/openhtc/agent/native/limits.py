"""What is looked at while jobs run: their time, the line behind them, and disks that the kernel does not bound."""

import time
from functools import partial

import structlog

from openhtc.agent.held import HeldJob
from openhtc.agent.native import frames
from openhtc.agent.native.events import Events
from openhtc.agent.native.place import Place
from openhtc.agent.native.run import Run
from openhtc.domain.enums import Outcome

CHECK_SECONDS = 0.1
"""How often limits of time are looked at."""
RECALL_SECONDS = 0.3
"""A job that was lined up behind one that goes on for so long may begin elsewhere."""
DISK_SECONDS = 1.0
DEATH_SECONDS = 30.0
"""A container that was killed is waited for so long."""

logger = structlog.get_logger(__name__)


class Limits:
    """Belongs to the runner's thread."""

    def __init__(self, events: Events, *, watch_disk: bool) -> None:
        self._events, self._watches_disk = events, watch_disk
        self._check_at = self._disk_at = 0.0

    def check(self, places: list[Place], *, closing: bool) -> None:
        """Look at all places, unless that was done just now. ``closing``: nothing begins any more."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_SECONDS
        for place in places:
            if place.runs:
                self._check_first(place, place.runs[0], now)
                if closing or goes_on(place, now):
                    self._recall(place)
        if self._watches_disk and now >= self._disk_at:
            self._disk_at = now + DISK_SECONDS
            self._look_at_disks(places)

    def _check_first(self, place: Place, run: Run, now: float) -> None:
        if now >= run.deadline and run.job.cause is None:
            run.job.stop(Outcome.TIMED_OUT)
        run.job.kill_if_due()
        if run.killed_at is not None and now - run.killed_at > DEATH_SECONDS:
            logger.error("container_does_not_die", slot=place.slot.name, lease=run.lease)
            place.slot.kill_program()

    def _recall(self, place: Place) -> None:
        for run in list(place.runs)[1:]:
            if not run.recalled:
                run.recalled = True
                place.slot.send(frames.recall(run.lease))

    def _look_at_disks(self, places: list[Place]) -> None:
        """A look may take long, so others do it."""
        for place in places:
            if place.runs and not place.watched:
                place.watched = True
                self._events.aside(partial(self._look_at_disk, place, place.runs[0].job))

    def _look_at_disk(self, place: Place, job: HeldJob) -> None:
        try:
            if place.slot.disk_full() and job.cause is None and place.runs and place.runs[0].job is job:
                job.stop(Outcome.DISK_FULL, grace=0.0)
        except OSError as error:
            logger.warning("disk_not_measured", slot=place.slot.name, error=str(error))
        finally:
            place.watched = False


def goes_on(place: Place, now: float) -> bool:
    """The job that runs there lasts too long for others to be lined up behind it."""
    began = place.runs[0].began
    return began is not None and now - began > RECALL_SECONDS
