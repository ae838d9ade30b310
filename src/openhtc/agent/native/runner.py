"""Runs jobs in native slots: one thread tells every slot's program what to run and hears what became of it.

Short jobs are lined up in the program, behind the one that runs, so that a slot never waits for this thread. What may
take long (pulling an image, making a disk) is done by other threads, and its result comes back as an event.
"""

import select
import threading
import time
from pathlib import Path

import structlog

from openhtc.agent.account import Parts, acquire, not_possible, report, stopped, without_image
from openhtc.agent.held import HeldJob
from openhtc.agent.images.errors import ImageError
from openhtc.agent.images.store import Image
from openhtc.agent.journal import Entry
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.native import frames, program
from openhtc.agent.native.events import Events
from openhtc.agent.native.frames import Ended, Kind, Stage
from openhtc.agent.native.limits import CHECK_SECONDS, Limits, goes_on
from openhtc.agent.native.orders import CannotStart, Orders
from openhtc.agent.native.place import Place
from openhtc.agent.native.run import Run, lost, usage_of, verdict_on
from openhtc.agent.native.slot import Common, NativeSlot
from openhtc.agent.output import JobOutput
from openhtc.agent.sandbox.slot import SandboxError
from openhtc.agent.verdict import Verdict
from openhtc.domain.enums import Outcome
from openhtc.domain.work import JobReport

RECEIVE_BYTES = 256 * 1024

logger = structlog.get_logger(__name__)


class NativeSlots:
    """Grows with the work up to ``limit`` slots. Its thread lives until the queue is closed and nothing runs."""

    def __init__(
        self, common: Common, directory: Path, queue: LocalQueue, parts: Parts, *, limit: int, max_cost: int
    ) -> None:
        """``directory``: of the slots; ``max_cost``: bytes of one job's output that may wait to be shipped."""
        self._common, self._directory, self._queue, self._parts = common, directory, queue, parts
        self._limit, self._max_cost = limit, max_cost
        self._orders = Orders()
        self._places: list[Place] = []
        self._events = Events()
        self._limits = Limits(self._events, watch_disk=parts.watch_disk)
        self._ends: list[Entry] = []
        self._thread = threading.Thread(target=self._run, name="slots", daemon=True)
        queue.watch(self._events.wake)

    def grow(self) -> None:
        """There is work. Called from one thread only, after each lease."""
        if not self._thread.is_alive() and not self._queue.is_closed:
            self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end after the queue was closed; False when something still runs."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Nothing is left to do: the slots went when the thread ended."""

    # -- the loop ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._queue.is_closed and all(place.is_idle for place in self._places)):
            for place, events in self._events.wait(CHECK_SECONDS):
                self._serve(place, events)
            self._events.do_what_others_left()
            self._limits.check(self._places, closing=self._queue.is_closed)
            self._fill()
            self._tell_ends()
        for place in self._places:
            self._events.stop_listening(place)
            place.slot.close()

    def _serve(self, place: Place, events: int) -> None:
        if events & select.EPOLLOUT and place.slot.flush():
            self._events.listen(place)
        if events & ~select.EPOLLOUT == 0:
            return
        data = place.slot.receive(RECEIVE_BYTES)
        if data == b"":
            self._program_ended(place)
        elif data is not None:
            for kind, lease, payload in place.reader.feed(data):
                self._hear(place, kind, lease, payload)

    def _hear(self, place: Place, kind: int, lease: int, payload: bytes) -> None:
        run = place.find(lease)
        if kind == Kind.RESTING:
            place.resting = True
            logger.debug("slot_rests", slot=place.slot.name, lease=lease)
        elif run is None:
            logger.error("slot_confused", slot=place.slot.name, kind=kind, lease=lease)
        elif kind == Kind.ENDED:
            self._ended(place, run, frames.ended(payload))
        elif kind == Kind.OUTPUT:
            self._add_output(place, run, payload)
        elif kind == Kind.STARTED:
            job = run.job.lease
            run.told_started = True
            self._parts.counts.started()
            start = frames.started_us(payload)
            self._parts.outbox.started(JobReport(job.lease, job.batch, job.index, started_at=start))

    # -- from queue to slot --------------------------------------------------------------------------

    def _fill(self) -> None:
        if self._parts.shipper.is_full:
            return
        while (place := self._free_place()) is not None and (job := self._queue.take_now()) is not None:
            if place not in self._places:
                self._places.append(place)
            if place.serves(job):
                self._send(place, job)
            else:
                self._prepare(place, job)
        ahead, now = self._queue.lined_up_per_slot(), time.monotonic()
        for place in self._places:
            if place.runs and not place.busy and not place.resting and not goes_on(place, now):
                self._line_up(place, ahead)

    def _line_up(self, place: Place, ahead: int) -> None:
        while 0 < len(place.runs) <= ahead:
            successor = self._queue.line_up(place.runs[-1].job)
            if successor is None:
                break
            self._send(place, successor)

    def _free_place(self) -> Place | None:
        for place in self._places:
            if place.is_free:
                return place
        if len(self._places) == self._limit:
            return None
        return self._new_place(len(self._places), 0)

    def _new_place(self, number: int, generation: int) -> Place:
        name = f"{number}g{generation}" if generation else f"{number}"
        directory = self._directory / name
        directory.mkdir(mode=0o711, exist_ok=True)
        return Place(NativeSlot(self._common, name, directory), number, generation)

    def _prepare(self, place: Place, job: HeldJob) -> None:
        """Have the slot made fit for the job, and the image brought, by another thread."""
        place.busy = True
        self._events.stop_listening(place)

        def work() -> None:
            image: Image | None = None
            try:
                image = acquire(self._parts.images, job)
                place.slot.fit(job.work.needs)
            except ImageError as error:
                verdict = without_image(job, error)
                self._events.later(lambda: self._not_prepared(place, job, verdict, broken=False))
            except (SandboxError, OSError) as error:
                if image is not None:
                    self._parts.images.release(image)
                verdict = not_possible(error)
                logger.error("attempt_not_possible", lease=job.lease.lease, error=str(error))
                self._events.later(lambda: self._not_prepared(place, job, verdict, broken=True))
            else:
                self._events.later(lambda: self._prepared(place, job, image))

        self._events.aside(work)

    def _prepared(self, place: Place, job: HeldJob, image: Image) -> None:
        place.busy = False
        self._adopt(place, image)
        self._events.listen(place)
        if job.cause is None:
            self._send(place, job)
        else:
            self._queue.done(job)
            self._tell(job, None, stopped(job), None)

    def _not_prepared(self, place: Place, job: HeldJob, verdict: Verdict, *, broken: bool) -> None:
        place.busy = False
        self._queue.done(job)
        self._tell(job, None, verdict, None)
        if broken:
            self._replace(place)
        else:
            self._events.listen(place)

    def _adopt(self, place: Place, image: Image | None) -> None:
        """The slot's root stands on its image as long as the slot has it."""
        if place.image is not None:
            self._parts.images.release(place.image)
        place.image = image

    def _send(self, place: Place, job: HeldJob) -> None:
        assert place.image is not None
        first = not place.runs
        try:
            frame = self._orders.request(job, place.image)
        except (CannotStart, ImageError) as error:
            self._leave(job, begun=first)
            self._tell(job, None, Verdict(Outcome.CANNOT_START, 127, str(error), ran=False), None)
            return
        run = Run(job, place.slot)
        place.runs.append(run)
        if first:
            run.begin()
        if not place.slot.send(frame):
            self._events.listen(place, waits=True)
        job.attach(run)

    def _leave(self, job: HeldJob, *, begun: bool) -> None:
        if begun:
            self._queue.done(job)
        else:
            self._queue.leave_line(job)

    # -- what became of it ---------------------------------------------------------------------------

    def _add_output(self, place: Place, run: Run, data: bytes) -> None:
        output = run.output
        if output is None:
            lease = run.job.lease
            output = run.output = JobOutput(
                lease.lease,
                lease.batch,
                lease.index,
                lease.log_floor_ns,
                max_bytes=self._parts.max_log_bytes,
                on_taken=lambda: self._events.later(lambda: self._events.listen(place)),
            )
        output.feed(data)
        much = output.cost > self._max_cost
        if much:
            self._events.listen(place, reads=False)
        self._parts.shipper.notice(output, much)

    def _ended(self, place: Place, run: Run, ended: Ended) -> None:
        job, began = run.job, ended.stage is not Stage.NOT_BEGUN
        self._take_out(place, run)
        if not began:
            self._begin_elsewhere(job)
            return
        assert place.image is not None
        if not run.told_started:
            self._parts.counts.started()
        spec = self._orders.spec(job, place.image)
        self._tell(job, run.output, verdict_on(job, ended, spec, self._common.shared.ids), ended)

    def _take_out(self, place: Place, run: Run) -> None:
        """The run is over, or does not begin here; the next one in the line has begun."""
        job, first = run.job, run is place.runs[0]
        place.runs.remove(run)
        job.detach()
        if not first:
            self._queue.leave_line(job)
        elif place.runs:
            self._queue.replace(job, place.runs[0].job)
            place.runs[0].begin()
        else:
            place.slot.drop_connections()
            self._queue.done(job)

    def _begin_elsewhere(self, job: HeldJob) -> None:
        if job.cause is not None:
            self._tell(job, None, stopped(job), None)
        elif not self._queue.requeue(job):
            self._tell(job, None, Verdict(Outcome.HANDED_BACK, reason="not started on this node"), None)

    def _tell(self, job: HeldJob, output: JobOutput | None, verdict: Verdict, ended: Ended | None) -> None:
        """Hand the end over, behind the last line of output. Nothing is told of a lease that is gone."""
        self._parts.counts.ended(verdict.outcome)
        if output is not None:
            output.finish()
        if job.gone:
            return
        job.told = True
        end = report(
            job,
            verdict,
            started_us=ended.started_us if ended is not None else None,
            ended_us=ended.ended_us if ended is not None else None,
            usage=usage_of(ended) if ended is not None else None,
        )
        if output is None or output.silent:
            self._ends.append(Entry(end=end))
        else:
            self._parts.shipper.finish(output, end)

    def _tell_ends(self) -> None:
        if self._ends:
            ends, self._ends = self._ends, []
            self._parts.outbox.put(ends)

    # -- what goes wrong -------------------------------------------------------------------------------

    def _program_ended(self, place: Place) -> None:
        """By itself, because the disk could not be emptied quickly; or it failed, and the job with it."""
        self._events.stop_listening(place)
        code = place.slot.program_ended()
        runs = list(place.runs)
        for run in runs:
            self._take_out(place, run)
        for run in runs:
            if run is not runs[0] or code in program.BETWEEN_JOBS:
                self._begin_elsewhere(run.job)
            else:
                reason = f"the program of the slot ended with {code}"
                logger.error("slot_program_ended", slot=place.slot.name, lease=run.lease, code=code)
                self._tell(run.job, run.output, lost(run.job, place.slot.oom_kills(), reason), None)
        place.busy, place.resting = True, False
        if code == program.UNCLEAN:
            self._replace(place)
            return

        def work() -> None:
            try:
                place.slot.restart(new_network=code not in program.NETWORK_UNUSED)
            except (SandboxError, OSError) as error:
                logger.error("slot_unusable", slot=place.slot.name, error=str(error))
                self._events.later(lambda: self._replace(place))
            else:
                self._events.later(lambda: self._restarted(place))

        self._events.aside(work)

    def _restarted(self, place: Place) -> None:
        place.busy = False
        place.reader = frames.Reader()
        self._adopt(place, None)

    def _replace(self, place: Place) -> None:
        """A slot that is broken is given up, and another one takes its place."""
        self._events.stop_listening(place)
        self._adopt(place, None)
        self._places[self._places.index(place)] = self._new_place(place.number, place.generation + 1)

        def work() -> None:
            try:
                place.slot.close()
            except (SandboxError, OSError) as error:
                logger.error("slot_not_closed", slot=place.slot.name, error=str(error))

        self._events.aside(work)
