"""The journal on disk: what is read again after a crash."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from openhtc.agent.journal import RENEW_BYTES, Entry, Journal, read_segment
from openhtc.agent.outbox import Outbox
from openhtc.domain.enums import Outcome
from openhtc.domain.work import JobReport, LogChunk


def end(lease: int) -> Entry:
    return Entry(end=JobReport(lease=lease, batch=1, index=lease, outcome=Outcome.EXITED, exit_code=0))


def chunk(lease: int) -> Entry:
    return Entry(chunk=LogChunk(lease, 1, 1, "k", 0, 10, 1, 5, 5))


def leases(directory: Path) -> list[int]:
    journal = Journal(directory)
    found = [entry.lease for entry in journal.replay()]
    journal.close()
    return found


def test_what_was_not_acknowledged_is_replayed_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([chunk(1), end(1), end(2)])
    journal.append([end(3)])
    journal.sync()
    again = Journal(tmp_path)
    assert list(again.replay()) == [chunk(1), end(1), end(2), end(3)]


def test_an_acknowledged_journal_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([end(1), end(2)])
    journal.acknowledge(2)
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_replayed_entries_are_acknowledged_like_new_ones(tmp_path: Path) -> None:
    Journal(tmp_path).append([end(1), end(2)])
    journal = Journal(tmp_path)
    journal.append([end(3)])
    journal.acknowledge(2)
    assert leases(tmp_path) == [3]
    journal.acknowledge(1)


def test_full_segments_are_deleted_when_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=200)
    for lease in range(1, 51):
        journal.append([end(lease)])
    many = len(list(tmp_path.iterdir()))
    assert many > 5
    journal.acknowledge(40)
    assert len(list(tmp_path.iterdir())) < many / 2
    kept = [entry.lease for path in sorted(tmp_path.iterdir()) for entry in read_segment(path)]
    assert set(range(41, 51)) <= set(kept)


def test_a_busy_journal_stays_small(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for lease in range(20_000):
        journal.append([end(lease)])
        journal.acknowledge(1)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size <= RENEW_BYTES + 4096


def test_a_torn_last_record_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([end(1), end(2)])
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for size in range(len(whole) // 2, len(whole)):
        path.write_bytes(whole[:size])
        assert [entry.lease for entry in read_segment(path)] == [1]


def test_a_damaged_record_ends_its_segment(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([end(1), end(2), end(3)])
    [path] = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert [entry.lease for entry in read_segment(path)] == [1]


def test_a_killed_writer_loses_nothing_that_it_had_appended(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from openhtc.agent.journal import Entry, Journal
from openhtc.domain.enums import Outcome
from openhtc.domain.work import JobReport
journal = Journal(Path(sys.argv[1]), segment_bytes=5000)
lease = 0
while True:
    lease += 1
    journal.append([Entry(end=JobReport(lease=lease, batch=1, index=lease, outcome=Outcome.EXITED))])
    sys.stdout.write(f"{lease}\\n")
    sys.stdout.flush()
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(500)]
    writer.send_signal(signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()
    found = leases(tmp_path)
    assert found[: len(told)] == told
    assert len(found) <= len(told) + 1


def test_the_outbox_begins_with_what_was_left(tmp_path: Path) -> None:
    Outbox(Journal(tmp_path)).put([chunk(7), end(7)])
    outbox = Outbox(Journal(tmp_path))
    assert outbox.replayed == 2
    assert outbox.peek(10) == ([chunk(7), end(7)], [])
    outbox.acknowledge(2, [])
    outbox.close()
    assert leases(tmp_path) == []


def test_an_end_replaces_a_start_that_was_not_sent(tmp_path: Path) -> None:
    outbox = Outbox(Journal(tmp_path))
    outbox.started(JobReport(lease=1, batch=1, index=0, started_at=5))
    outbox.started(JobReport(lease=2, batch=1, index=1, started_at=6))
    outbox.put([end(1)])
    entries, starts = outbox.peek(10)
    assert entries == [end(1)]
    assert [start.lease for start in starts] == [2]
