"""The format of a run of log lines: what agents pack and the server unpacks.

A run is a zlib stream over a msgpack array of [nanoseconds since the epoch, line] pairs. Times
increase strictly. A line is the program's output without its newline; bytes that are not UTF-8
were replaced.
"""

import zlib

import msgspec

LogLine = tuple[int, str]

MAX_LINE_BYTES = 32 * 1024
"""A longer line of output becomes several lines."""
MAX_JOB_BYTES = 256 * 1024 * 1024
"""What is kept of one attempt's output; a last line says that more was dropped."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[LogLine])


def pack_lines(lines: list[LogLine]) -> bytes:
    return zlib.compress(_encoder.encode(lines), level=1)


def unpack_lines(data: bytes) -> list[LogLine]:
    return _decoder.decode(zlib.decompress(data))
