"""Splitting and stamping output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhtc.agent.lines import LineStamper, runs
from openhtc.domain.logs import (
    MAX_LINE_BYTES,
    MAX_RUN_BYTES,
    RUN_BYTES,
    BrokenRun,
    LogLine,
    Stretch,
    pack_lines,
    unpack_lines,
)


def lines_of(stretches: list[Stretch]) -> list[LogLine]:
    """The lines as the server reads them."""
    return [line for run in runs(stretches) for line in unpack_lines(pack_lines(run))]


def texts(stamper: LineStamper, *pieces: bytes) -> list[str]:
    stretches = [stretch for piece in pieces for stretch in stamper.feed(piece, 1)]
    return [text for _, text in lines_of(stretches + stamper.finish(1))]


def test_pieces_are_joined_at_newlines() -> None:
    assert texts(LineStamper(), b"a\nb", b"c\n\nlast") == ["a", "bc", "", "last"]


def test_a_last_newline_makes_no_empty_line() -> None:
    assert texts(LineStamper(), b"a\n") == ["a"]


def test_times_increase_strictly_even_when_the_clock_goes_back() -> None:
    stamper = LineStamper(floor_ns=1000)
    lines = (
        stamper.feed(b"a\nb\n", 5) + stamper.feed(b"c\n", 2000) + stamper.feed(b"d\n", 3) + stamper.finish(1)
    )
    assert [ns for ns, _ in lines_of(lines)] == [1001, 1002, 2000, 2001]


def test_invalid_bytes_and_nul_are_replaced() -> None:
    assert texts(LineStamper(), b"a\xffb\0c\n") == ["a\ufffdb\ufffdc"]


def test_a_long_line_is_cut_between_characters() -> None:
    line = "x" + "é" * MAX_LINE_BYTES
    pieces = texts(LineStamper(), line.encode() + b"\nend\n")
    assert pieces[-1] == "end"
    assert "".join(pieces[:-1]) == line
    assert all(len(piece.encode()) <= MAX_LINE_BYTES for piece in pieces)


def test_a_long_line_is_not_kept_until_its_newline() -> None:
    stamper = LineStamper()
    lines = stamper.feed(b"x" * (3 * MAX_LINE_BYTES + 5), 1)
    assert [len(text) for _, text in lines_of(lines)] == [MAX_LINE_BYTES] * 3
    assert [text for _, text in lines_of(stamper.finish(1))] == ["xxxxx"]


def test_what_exceeds_the_bound_is_dropped_and_told() -> None:
    stamper = LineStamper(max_bytes=10)
    lines = stamper.feed(b"12345\n789\nmore\n", 1)
    assert stamper.full
    stamper.drop(7)
    lines += stamper.finish(1)
    assert [text for _, text in lines_of(lines)] == [
        "12345",
        "789",
        "openhtc: output after the first 10 bytes was dropped (12 bytes)",
    ]


@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(0, 10**18))
def test_no_text_is_lost_whatever_the_pieces(pieces: list[bytes], floor: int) -> None:
    stamper = LineStamper(floor)
    lines = lines_of([each for piece in pieces for each in stamper.feed(piece, 0)] + stamper.finish(0))
    whole = b"".join(pieces).split(b"\n")
    if not whole[-1]:
        whole.pop()
    assert [text for _, text in lines] == [
        part.decode(errors="replace").replace("\0", "\ufffd") for part in whole
    ]
    times = [ns for ns, _ in lines]
    assert times == sorted(set(times))
    assert all(ns > floor for ns in times)


def test_a_large_piece_becomes_runs_that_can_be_read_one_by_one() -> None:
    stamper = LineStamper(floor_ns=41)
    stretches = stamper.feed(b"".join(b"%07d\n" % number for number in range(400_000)), 0)
    packed = list(runs(stretches))
    assert len(packed) == 4
    assert all(RUN_BYTES <= sum(len(each.text) for each in run) < MAX_RUN_BYTES for run in packed[:-1])
    assert lines_of(stretches) == [(42 + number, f"{number:07}") for number in range(400_000)]


def test_only_the_lines_that_are_asked_for_are_unpacked() -> None:
    run = pack_lines([Stretch(10, 3, b"a\nb\nc\n"), Stretch(20, 2, b"d\ne\n")])
    assert unpack_lines(run, 1, 4) == [(11, "b"), (12, "c"), (20, "d")]
    assert unpack_lines(run, 4, 99) == [(21, "e")]
    assert unpack_lines(run, 5) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no run",
        pack_lines([Stretch(1, 1, b"a\n")])[:-1],
        pack_lines([Stretch(1, 2, b"a\n")]),
        pack_lines([Stretch(1, 1, b"a")]),
        pack_lines([Stretch(1, 1, b"\xff\n")]),
        pack_lines([Stretch(1, 1, b"a" * MAX_RUN_BYTES + b"\n")]),
    ],
)
def test_what_is_no_run_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenRun):
        unpack_lines(data)
