"""From bytes of output to stamped lines. No input or output, no clock: the time is an argument.

Output comes in millions of lines, so nothing here is done line by line: a piece of output stays one piece of text.
"""

from collections.abc import Iterator

from openhtc.domain.logs import MAX_LINE_BYTES, RUN_BYTES, Stretch

MAX_BYTES = 16 << 30
"""What is kept of one attempt's output, unless it is said."""
STRETCH_OVERHEAD = 250
"""About what a stretch takes in memory beyond its text, in bytes."""
_FEED_BYTES = 256 * 1024
_REPLACEMENT = "\ufffd".encode()


class LineStamper:
    """Splits one attempt's output into lines with strictly increasing times.

    A line longer than MAX_LINE_BYTES becomes several. After max_bytes of output the rest is dropped, and
    the last line says how much. Bytes that are not UTF-8, and NUL, become U+FFFD.
    """

    def __init__(self, floor_ns: int = 0, max_bytes: int = MAX_BYTES) -> None:
        self._last_ns = floor_ns
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._partial = b""
        self.dropped = 0

    @property
    def full(self) -> bool:
        """Nothing more is kept: output can be thrown away unseen and only counted with ``drop``."""
        return self._left == 0

    def feed(self, data: bytes, now_ns: int) -> list[Stretch]:
        """The lines that this piece of output completes."""
        kept = data if len(data) <= self._left else data[: self._left]
        self._left -= len(kept)
        self.dropped += len(data) - len(kept)
        if len(kept) <= _FEED_BYTES:
            return self._stamp(self._complete(kept), now_ns)
        pieces = (kept[at : at + _FEED_BYTES] for at in range(0, len(kept), _FEED_BYTES))
        return [stretch for piece in pieces for stretch in self._stamp(self._complete(piece), now_ns)]

    def drop(self, count: int) -> None:
        """``count`` bytes of output were thrown away outside."""
        self.dropped += count

    def finish(self, now_ns: int) -> list[Stretch]:
        """What is left at the end: a last line without newline, the word about dropped output."""
        rest = b"".join(piece + b"\n" for piece in _cut(self._partial)) if self._partial else b""
        self._partial = b""
        if self.dropped:
            word = f"openhtc: output after the first {self._max_bytes} bytes was dropped"
            rest += f"{word} ({self.dropped} bytes)\n".encode()
        return self._stamp(rest, now_ns)

    def _complete(self, data: bytes) -> bytes:
        """The text up to the last newline; what is behind it waits, unless it is a very long line already."""
        end = data.rfind(b"\n") + 1
        if end:
            text = _without_long_lines(self._partial + data[:end])
            self._partial = data[end:]
        else:
            text = b""
            self._partial += data
        if len(self._partial) > MAX_LINE_BYTES:
            *more, self._partial = _cut(self._partial)
            text += b"".join(piece + b"\n" for piece in more)
        return text

    def _stamp(self, text: bytes, now_ns: int) -> list[Stretch]:
        if not text:
            return []
        first = max(now_ns, self._last_ns + 1)
        count = text.count(b"\n")
        self._last_ns = first + count - 1
        return [Stretch(first, count, _clean(text))]


def cost(stretches: list[Stretch]) -> int:
    """About how many bytes of memory the stretches take."""
    return sum(len(stretch.text) for stretch in stretches) + STRETCH_OVERHEAD * len(stretches)


def runs(stretches: list[Stretch]) -> Iterator[list[Stretch]]:
    """Cut into runs, each long enough to compress well and short enough to be read for a page."""
    begin = size = 0
    for n, stretch in enumerate(stretches, 1):
        size += len(stretch.text)
        if size >= RUN_BYTES or n == len(stretches):
            yield stretches[begin:n]
            begin, size = n, 0


def _without_long_lines(text: bytes) -> bytes:
    """The text, which ends with a newline, with newlines within each line that is too long."""
    start = 0
    while len(text) - start > MAX_LINE_BYTES:
        newline = text.rfind(b"\n", start, start + MAX_LINE_BYTES + 1)
        if newline < 0:
            return b"\n".join(piece for line in text.split(b"\n") for piece in _cut(line))
        start = newline + 1
    return text


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


def _clean(text: bytes) -> bytes:
    """A newline is never part of another character, so the lines stay the same."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode(errors="replace").encode()
    return text.replace(b"\0", _REPLACEMENT) if b"\0" in text else text
