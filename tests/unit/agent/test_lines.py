"""Splitting and stamping output."""

from hypothesis import given
from hypothesis import strategies as st

from openhtc.agent.lines import LineStamper
from openhtc.domain.logs import MAX_LINE_BYTES, pack_lines, unpack_lines


def texts(stamper: LineStamper, *pieces: bytes) -> list[str]:
    lines = [line for piece in pieces for line in stamper.feed(piece, 1)]
    return [text for _, text in lines + stamper.finish(1)]


def test_pieces_are_joined_at_newlines() -> None:
    assert texts(LineStamper(), b"a\nb", b"c\n\nlast") == ["a", "bc", "", "last"]


def test_a_last_newline_makes_no_empty_line() -> None:
    assert texts(LineStamper(), b"a\n") == ["a"]


def test_times_increase_strictly_even_when_the_clock_goes_back() -> None:
    stamper = LineStamper(floor_ns=1000)
    lines = (
        stamper.feed(b"a\nb\n", 5) + stamper.feed(b"c\n", 2000) + stamper.feed(b"d\n", 3) + stamper.finish(1)
    )
    assert [ns for ns, _ in lines] == [1001, 1002, 2000, 2001]


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
    assert [len(text) for _, text in lines] == [MAX_LINE_BYTES] * 3
    assert [text for _, text in stamper.finish(1)] == ["xxxxx"]


def test_what_exceeds_the_bound_is_dropped_and_told() -> None:
    stamper = LineStamper(max_bytes=10)
    lines = stamper.feed(b"12345\n789\nmore\n", 1)
    assert stamper.full
    stamper.drop(7)
    lines += stamper.finish(1)
    assert [text for _, text in lines] == [
        "12345",
        "789",
        "openhtc: output after the first 10 bytes was dropped (12 bytes)",
    ]


@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(0, 10**18))
def test_no_text_is_lost_whatever_the_pieces(pieces: list[bytes], floor: int) -> None:
    stamper = LineStamper(floor)
    lines = [line for piece in pieces for line in stamper.feed(piece, 0)] + stamper.finish(0)
    whole = b"".join(pieces).split(b"\n")
    if not whole[-1]:
        whole.pop()
    assert [text for _, text in lines] == [
        part.decode(errors="replace").replace("\0", "\ufffd") for part in whole
    ]
    times = [ns for ns, _ in lines]
    assert times == sorted(set(times))
    assert all(ns > floor for ns in times)
    assert unpack_lines(pack_lines(lines)) == lines
