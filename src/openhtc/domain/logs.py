"""The format of a run of log lines: what agents pack and the server unpacks.

A run is a zlib stream over a msgpack array of two. First the times, a flat array of pairs: nanoseconds since the
line before (the first: since the epoch), and how many lines came then, one nanosecond apart. Then the lines' text as
one string of bytes, each line with a newline behind it. Times increase strictly. A line is the program's output; bytes
that are not UTF-8, and NUL, were replaced.
"""

import zlib
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

LogLine = tuple[int, str]
"""(nanoseconds since the epoch, text without newline)"""

MAX_LINE_BYTES = 32 * 1024
"""A longer line of output becomes several lines."""
RUN_BYTES = 1024 * 1024
"""A run ends with the stretch that makes its text this long."""
MAX_RUN_BYTES = 4 * 1024 * 1024
"""No run takes more than this when it is unpacked."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[int], bytes])


class Stretch(NamedTuple):
    """Lines that were complete at one moment: line n has the time ``first_ns`` + n."""

    first_ns: int
    lines: int
    text: bytes
    """UTF-8 without NUL, each line with a newline behind it."""

    @property
    def last_ns(self) -> int:
        return self.first_ns + self.lines - 1


class BrokenRun(ValueError):
    """The bytes are not a run of log lines."""


def pack_lines(stretches: Sequence[Stretch]) -> bytes:
    """One run. The stretches' times increase, and their text is at most MAX_RUN_BYTES long in all."""
    times: list[int] = []
    last_ns = 0
    for stretch in stretches:
        times += (stretch.first_ns - last_ns, stretch.lines)
        last_ns = stretch.last_ns
    packed = zlib.compressobj(level=1)
    head = packed.compress(_encoder.encode((times, b"".join([stretch.text for stretch in stretches]))))
    return head + packed.flush()


def unpack_lines(data: bytes, start: int = 0, stop: int | None = None) -> list[LogLine]:
    """Lines [start, stop) of a run, counted from 0. Raises BrokenRun."""
    times, text = _unpack(data)
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise BrokenRun(str(error)) from error
    if lines.pop() or len(lines) != sum(times[1::2]):
        raise BrokenRun(f"{len(lines)} lines under {sum(times[1::2])} times")
    stop = len(lines) if stop is None else min(stop, len(lines))
    moments = (ns for first_ns, count in _moments(times) for ns in range(first_ns, first_ns + count))
    return list(zip(islice(moments, start, stop), lines[start:stop], strict=True))


def _unpack(data: bytes) -> tuple[list[int], bytes]:
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(data, MAX_RUN_BYTES)
        if not unpacker.eof:
            raise BrokenRun(f"a run longer than {MAX_RUN_BYTES} bytes, or its end is missing")
        return _decoder.decode(whole)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise BrokenRun(str(error)) from error


def _moments(times: list[int]) -> list[tuple[int, int]]:
    """(first time, number of lines) of each stretch."""
    found, last_ns = [], 0
    for gap, count in zip(times[::2], times[1::2], strict=True):
        found.append((last_ns + gap, count))
        last_ns += gap + count - 1
    return found
