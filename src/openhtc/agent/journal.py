"""News that must survive the agent, on disk until acknowledged: ends of attempts, places of log lines.

A directory of segment files, each a row of records: length and CRC-32 of the payload (4 bytes each, little
endian), then the payload (MessagePack). A record is in the page cache before ``append`` returns, which
outlives the process; ``sync`` makes it outlive the machine. A segment whose records are all acknowledged is
deleted. A torn or damaged record ends the reading of its segment: nothing written after it was ever sent
before it, because records are sent in order.
"""

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from openhtc.domain.work import JobReport, LogChunk

SEGMENT_BYTES = 4 * 1024 * 1024
RENEW_BYTES = 256 * 1024
"""A smaller segment goes on being used when all of it is acknowledged: telling twice is harmless."""
_HEADER = struct.Struct("<II")
_SUFFIX = ".journal"

logger = structlog.get_logger(__name__)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One piece of news: an attempt's end, or a run of its log lines."""

    end: JobReport | None = None
    chunk: LogChunk | None = None

    @property
    def lease(self) -> int:
        news = self.end or self.chunk
        return news.lease if news is not None else 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


class Journal:
    """Not thread-safe: the outbox calls it under its lock."""

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Opens the journal; what an earlier process left is in ``replay()``. Raises OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._segment_bytes = segment_bytes
        left = sorted(directory.glob(f"*{_SUFFIX}"))
        self._number = int(left[-1].stem) if left else 0
        self._segments: deque[tuple[Path, int]] = deque(
            (path, sum(1 for _ in read_segment(path))) for path in left
        )
        self._file = -1
        self._written = 0
        self._dirty = False
        self._acknowledged = 0
        self._open_next()

    def replay(self) -> Iterator[Entry]:
        """The entries that were not acknowledged to the process before, oldest first, perhaps some that were.

        They count as appended: acknowledge them like new ones.
        """
        for path, _ in list(self._segments)[:-1]:
            yield from read_segment(path)

    def append(self, entries: list[Entry]) -> None:
        """Write the entries. After an OSError none of them is on disk, yet all are to be acknowledged."""
        if self._written >= self._segment_bytes:
            self._open_next()
        path, count = self._segments.pop()
        self._segments.append((path, count + len(entries)))
        data = b"".join(_record(entry) for entry in entries)
        self._write_whole(data)
        self._written += len(data)
        self._dirty = True

    def sync(self) -> None:
        """Make everything appended so far safe against a loss of power."""
        if self._dirty:
            os.fdatasync(self._file)
            self._dirty = False

    def acknowledge(self, count: int) -> None:
        """The oldest ``count`` entries that were not acknowledged yet are known to the server."""
        self._acknowledged += count
        if self._written >= RENEW_BYTES and self._acknowledged == sum(size for _, size in self._segments):
            self._open_next()
        while len(self._segments) > 1 and self._acknowledged >= self._segments[0][1]:
            path, size = self._segments.popleft()
            self._acknowledged -= size
            path.unlink()

    def close(self) -> None:
        """Close the files; when everything is acknowledged none is left."""
        os.close(self._file)
        path, count = self._segments[-1]
        if len(self._segments) == 1 and count == self._acknowledged:
            path.unlink()

    def _open_next(self) -> None:
        if self._file >= 0:
            self.sync()
            os.close(self._file)
        self._number += 1
        path = self._directory / f"{self._number:012d}{_SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._written = 0
        self._segments.append((path, 0))

    def _write_whole(self, data: bytes) -> None:
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, start)
            os.lseek(self._file, start, os.SEEK_SET)
            raise


def read_segment(path: Path) -> Iterator[Entry]:
    """The whole records of a segment, up to the first that is torn or damaged."""
    data = path.read_bytes()
    position = 0
    while position + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, position)
        payload = data[position + _HEADER.size : position + _HEADER.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            break
        yield _decoder.decode(payload)
        position += _HEADER.size + length
    if position < len(data):
        logger.warning("journal_torn", path=str(path), kept=position, size=len(data))


def _record(entry: Entry) -> bytes:
    payload = _encoder.encode(entry)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
