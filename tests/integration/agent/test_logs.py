"""Output through pipes into a real S3 and back, without containers."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from openhtc.agent.counts import Counts
from openhtc.agent.journal import Journal
from openhtc.agent.log_store import LogStore
from openhtc.agent.outbox import Outbox
from openhtc.agent.output import OutputReader, PipeOutput
from openhtc.agent.session import Session
from openhtc.agent.shipper import Shipper
from openhtc.agent.wire import Wire
from openhtc.domain.enums import Outcome
from openhtc.domain.work import AgentHello, Capacity, JobReport

from .agent_far_side import AGENT_KEY, FarSide
from .agent_services import wait_until


class Line:
    """The way of output: reader, shipper, outbox."""

    def __init__(self, far: FarSide, directory: Path, max_cost: int) -> None:
        hello = AgentHello("n", ["AWS_US_WEST_2"], Capacity(1, 1, 1), "X86", "bubblewrap", "0")
        session = Session(Wire(far.url, "test"), hello, AGENT_KEY)
        session.open()
        self.far, self.counts = far, Counts()
        self.outbox = Outbox(Journal(directory))
        self.shipper = Shipper(LogStore(session), self.outbox, self.counts)
        self.reader = OutputReader(max_cost, self.shipper.notice)
        self.reader.start()
        self.shipper.start()

    def open(self, lease: int) -> PipeOutput:
        output = PipeOutput(lease, 1, lease, 0)
        self.reader.add(output)
        return output

    def end(self, output: PipeOutput) -> None:
        output.close_writer()
        self.reader.drain(output, 10.0)
        end = JobReport(output.lease, 1, output.lease, ended_at=1, outcome=Outcome.EXITED, exit_code=0)
        self.shipper.finish(output, end)

    def ended(self) -> list[int]:
        entries, _ = self.outbox.peek(10_000)
        return [entry.lease for entry in entries if entry.end is not None]

    def lines(self, lease: int) -> list[str]:
        """The lines told so far; none after the job's end was told."""
        entries = [entry for entry in self.outbox.peek(10_000)[0] if entry.lease == lease]
        assert all(entry.chunk is not None for entry in entries[:-1])
        found = [
            line for entry in entries if entry.chunk is not None for line in self.far.bucket.read(entry.chunk)
        ]
        times = [ns for ns, _ in found]
        assert times == sorted(set(times))
        return [text for _, text in found]


@pytest.fixture
def line(far: FarSide, tmp_path: Path) -> Iterator[Line]:
    line = Line(far, tmp_path, max_cost=64 * 1024)
    yield line
    line.shipper.end_within(5.0)
    assert line.shipper.join(10.0)
    line.reader.close()
    line.outbox.close()


def test_lines_are_shipped_while_the_job_runs(line: Line) -> None:
    output = line.open(1)
    os.write(output.writer, b"first\nsecond\nunfinished")
    wait_until(lambda: line.lines(1) == ["first", "second"])
    assert line.ended() == []
    line.end(output)
    wait_until(lambda: line.ended() == [1])
    assert line.lines(1) == ["first", "second", "unfinished"]


def test_many_ends_share_an_object(line: Line) -> None:
    outputs = [line.open(lease) for lease in range(40)]
    for output in outputs:
        os.write(output.writer, f"I am {output.lease}\n".encode())
        line.end(output)
    wait_until(lambda: len(line.ended()) == 40, state=line.ended)
    assert [line.lines(lease) for lease in range(40)] == [[f"I am {lease}"] for lease in range(40)]
    keys = {entry.chunk.key for entry in line.outbox.peek(1000)[0] if entry.chunk is not None}
    assert len(keys) < 20


def test_a_silent_job_ends_without_an_object(line: Line) -> None:
    line.end(line.open(5))
    assert line.ended() == [5]
    assert line.lines(5) == []


def test_a_hundred_thousand_lines_arrive_in_order_through_little_memory(line: Line) -> None:
    output = line.open(1)
    text = "".join(f"line {number}\n" for number in range(100_000)).encode()

    def write() -> None:
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(output.writer, rest[:65536]) :]

    writer = threading.Thread(target=write)
    writer.start()
    most = 0
    while writer.is_alive():
        most = max(most, output.cost)
        writer.join(0.001)
    line.end(output)
    wait_until(lambda: line.ended() == [1])
    assert line.lines(1) == [f"line {number}" for number in range(100_000)]
    assert most < 3 * 1024 * 1024


def test_a_pipe_that_never_ends_is_given_up(line: Line) -> None:
    output = line.open(1)
    kept = os.dup(output.writer)
    os.write(output.writer, b"said\n")
    output.close_writer()
    line.reader.drain(output, 0.2)
    assert output.ended.is_set()
    os.close(kept)


def test_the_store_may_be_away(line: Line) -> None:
    line.far.bucket.kill()
    try:
        loud, silent = line.open(1), line.open(2)
        os.write(loud.writer, b"kept\n")
        line.end(loud)
        line.end(silent)
        assert line.ended() == [2], "a job without output does not wait for the store"
    finally:
        line.far.bucket.start()
    wait_until(lambda: sorted(line.ended()) == [1, 2])
    assert line.lines(1) == ["kept"]
