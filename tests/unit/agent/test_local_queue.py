"""The jobs that wait on a node, and stopping those that run."""

import signal
import threading
import time

import pytest

from openhtc.agent.held import HeldJob, HeldJobs
from openhtc.agent.local_queue import LocalQueue
from openhtc.agent.runtimes.base import Exit
from openhtc.domain.enums import Outcome
from openhtc.domain.work import BatchWork, Capacity, ImageSource, JobLease


def job(lease: int, vcpus: int = 1, memory: int = 10) -> HeldJob:
    needs = Capacity(vcpus, memory, 0)
    work = BatchWork(1, "p", ImageSource("", "", "", ""), [], None, [], needs, 60)
    return HeldJob(JobLease(lease, 1, lease, 1, []), work)


def queue_of(vcpus: int = 2) -> LocalQueue:
    return LocalQueue(Capacity(vcpus, 1000, 10), slots=vcpus)


def test_jobs_begin_in_order_as_long_as_they_fit() -> None:
    queue = queue_of(2)
    jobs = [job(1), job(2), job(3)]
    queue.put(jobs)
    assert [queue.take(), queue.take()] == jobs[:2]
    taken: list[HeldJob | None] = []
    waiter = threading.Thread(target=lambda: taken.append(queue.take()))
    waiter.start()
    waiter.join(0.05)
    assert taken == [], "the third has no room"
    queue.done(jobs[0])
    waiter.join(5)
    assert taken == [jobs[2]]


def test_a_closed_queue_gives_nothing_and_takes_nothing() -> None:
    queue = queue_of()
    waiting = [job(1), job(2)]
    queue.put(waiting)
    assert queue.close() == waiting
    assert queue.take() is None
    assert queue.put([job(3)]) is False


def test_waiting_jobs_can_be_taken_out() -> None:
    queue = queue_of()
    first, second = job(1), job(2)
    queue.put([first, second])
    assert queue.remove(second)
    assert not queue.remove(second)
    assert queue.remove_older_than(3600) == []
    assert queue.remove_older_than(-1) == [first]
    assert queue.load().queued_jobs == 0


def test_the_load_is_what_runs_and_waits() -> None:
    queue = queue_of(4)
    queue.put([job(1, vcpus=2), job(2), job(3)])
    running = queue.take()
    assert running is not None
    load = queue.load()
    assert (load.running, load.queued) == (Capacity(2, 10, 0), Capacity(2, 20, 0))
    assert (load.running_jobs, load.queued_jobs, load.typical) == (1, 2, Capacity(1, 10, 0))
    queue.done(running)
    assert queue.load().running == Capacity(0, 0, 0)


def test_there_is_need_as_soon_as_a_job_ends() -> None:
    queue = queue_of(1)
    queue.put([job(1)])
    running = queue.take()
    assert running is not None
    assert queue.wait_wanted(0.01) is None
    threading.Timer(0.05, queue.done, [running]).start()
    began = time.monotonic()
    want = queue.wait_wanted(10)
    assert want is not None
    assert want.free.vcpus == 1
    assert time.monotonic() - began < 5


def test_idle_is_waited_for() -> None:
    queue = queue_of(1)
    assert queue.wait_idle(0)
    queue.put([job(1)])
    running = queue.take()
    assert running is not None
    assert not queue.wait_idle(0.01)
    threading.Timer(0.05, queue.done, [running]).start()
    assert queue.wait_idle(10)


class Recorder:
    """A container that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def signal(self, number: int) -> None:
        self.told.append(signal.Signals(number).name)

    def kill(self) -> None:
        self.told.append("KILL")

    def wait(self, timeout: float | None = None) -> Exit | None:
        return None


def test_a_stop_is_a_term_and_later_a_kill() -> None:
    container, held = Recorder(), job(1)
    held.attach(container)
    held.stop(Outcome.TIMED_OUT, grace=1000)
    held.kill_if_due()
    assert container.told == ["SIGTERM"]
    held.stop(Outcome.CANCELLED, grace=0)
    assert container.told == ["SIGTERM", "KILL"]
    assert held.cause is Outcome.TIMED_OUT, "the first cause counts"


def test_a_stop_before_the_start_reaches_the_container() -> None:
    container, held = Recorder(), job(1)
    held.stop(Outcome.CANCELLED, grace=1000)
    assert held.stopped.is_set()
    held.attach(container)
    assert container.told == ["SIGTERM"]


def test_a_kill_comes_when_it_is_due() -> None:
    container, held = Recorder(), job(1)
    held.attach(container)
    held.stop(Outcome.CANCELLED, grace=0.01)
    left = held.seconds_to_kill()
    assert left is not None
    assert left <= 0.01
    while container.told == ["SIGTERM"]:
        held.kill_if_due()
    assert container.told == ["SIGTERM", "KILL"]


def test_a_forgotten_job_is_killed() -> None:
    container, held = Recorder(), job(1)
    held.attach(container)
    held.forget()
    assert held.gone
    assert container.told == ["KILL"]


@pytest.mark.parametrize("lease", [1, 2])
def test_held_jobs_are_found_by_lease(lease: int) -> None:
    jobs = HeldJobs()
    jobs.add([job(1), job(2)])
    found = jobs.get(lease)
    assert found is not None
    assert found.lease.lease == lease
    jobs.remove(lease)
    assert jobs.get(lease) is None
    assert len(jobs) == 1


def test_stock_can_be_forgone() -> None:
    queue = queue_of(1)
    first, second = job(1), job(2)
    queue.put([first, second])
    assert queue.take() is first
    queue.done(first)
    assert queue.take() is second
    assert queue.wait_wanted(0) is not None, "a short job before: stock is wanted"
    queue.stop_stocking(3600)
    assert queue.wait_wanted(0) is None


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_jobs_that_left_the_line_wait_again_in_their_order(order: list[int]) -> None:
    queue = queue_of(1)
    jobs = [job(number) for number in range(6)]
    queue.put(jobs)
    running = queue.take()
    assert running is jobs[0]
    lined_up = [queue.line_up(running) for _ in range(3)]
    assert lined_up == jobs[1:4]
    for number in order:
        queue.leave_line(jobs[1:4][number])
        assert queue.requeue(jobs[1:4][number])
    queue.done(running)
    assert [_taken(queue) for _ in range(5)] == jobs[1:]


def _taken(queue: LocalQueue) -> HeldJob | None:
    found = queue.take()
    if found is not None:
        queue.done(found)
    return found


@pytest.mark.parametrize(
    ("seconds", "ahead"),
    [(None, 0), (0.0001, 8), (0.002, 8), (0.005, 4), (0.019, 1), (0.1, 1), (0.21, 0), (5.0, 0)],
)
def test_so_many_are_lined_up_as_end_soon_and_one_at_least_of_short_jobs(
    seconds: float | None, ahead: int
) -> None:
    queue = queue_of(1)
    if seconds is not None:
        queue._seconds.ended(seconds)
    assert queue.lined_up_per_slot() == ahead
