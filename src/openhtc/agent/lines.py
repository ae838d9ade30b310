"""From bytes of output to stamped lines. No input or output, no clock: the time is an argument."""

from openhtc.domain.logs import MAX_JOB_BYTES, MAX_LINE_BYTES, LogLine

LINE_OVERHEAD = 128
"""About what a line takes in memory beyond its text, in bytes."""


class LineStamper:
    """Splits one attempt's output into lines with strictly increasing times.

    A line longer than MAX_LINE_BYTES becomes several. After max_bytes of output the rest is dropped, and
    the last line says how much. Bytes that are not UTF-8, and NUL, become U+FFFD.
    """

    def __init__(self, floor_ns: int = 0, max_bytes: int = MAX_JOB_BYTES) -> None:
        self._last_ns = floor_ns
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._partial = b""
        self.dropped = 0

    @property
    def full(self) -> bool:
        """Nothing more is kept: output can be thrown away unseen and only counted with ``drop``."""
        return self._left == 0

    def feed(self, data: bytes, now_ns: int) -> list[LogLine]:
        """The lines that this piece of output completes."""
        kept = data[: self._left]
        self._left -= len(kept)
        self.dropped += len(data) - len(kept)
        *complete, self._partial = (self._partial + kept).split(b"\n")
        pieces = [piece for line in complete for piece in _cut(line)]
        if len(self._partial) >= MAX_LINE_BYTES:
            *more, self._partial = _cut(self._partial)
            pieces += more
        return self._stamp(pieces, now_ns)

    def drop(self, count: int) -> None:
        """``count`` bytes of output were thrown away outside."""
        self.dropped += count

    def finish(self, now_ns: int) -> list[LogLine]:
        """What is left at the end: a last line without newline, the word about dropped output."""
        rest = _cut(self._partial) if self._partial else []
        self._partial = b""
        if self.dropped:
            word = f"openhtc: output after the first {self._max_bytes} bytes was dropped"
            rest.append(f"{word} ({self.dropped} bytes)".encode())
        return self._stamp(rest, now_ns)

    def _stamp(self, pieces: list[bytes], now_ns: int) -> list[LogLine]:
        if not pieces:
            return []
        first = max(now_ns, self._last_ns + 1)
        self._last_ns = first + len(pieces) - 1
        return [(first + offset, _text(piece)) for offset, piece in enumerate(pieces)]


def cost(lines: list[LogLine]) -> int:
    """About how many bytes of memory the lines take."""
    return sum(len(text) for _, text in lines) + LINE_OVERHEAD * len(lines)


def _cut(line: bytes) -> list[bytes]:
    """The line in pieces of at most MAX_LINE_BYTES, not cut within a UTF-8 character; at least one piece."""
    pieces = []
    while len(line) > MAX_LINE_BYTES:
        end = MAX_LINE_BYTES
        while end > MAX_LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    pieces.append(line)
    return pieces


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", errors="replace").replace("\0", "\ufffd")
