"""Text as it is printed becomes lines: split at newlines, progress bars folded, monsters cut. Pure.

A carriage return starts the line anew, as on a terminal: of a line that is redrawn, states are kept at most once in a
while, and the last always. What is held back is bounded by the longest line, whatever comes in.
"""

from __future__ import annotations


def size_of(text: str) -> int:
    """Bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, limit_bytes: int, total_bytes: int | None = None) -> str:
    """`text` if it fits into `limit_bytes`, else its beginning with a mark that says how much there was."""
    total = size_of(text) if total_bytes is None else total_bytes
    if total <= limit_bytes:
        return text
    kept = text[:limit_bytes].encode("utf-8", "surrogatepass")[:limit_bytes].decode("utf-8", "ignore")
    return f"{kept} … [cut, {total} bytes in all]"


class LineFolder:
    """Collects the text of one stream. `feed` and `close` return the lines that are complete."""

    def __init__(self, *, line_max_bytes: int, redraw_every_s: float) -> None:
        self._max = line_max_bytes
        self._redraw_every_s = redraw_every_s
        self._parts: list[str] = []
        self._kept = 0  # characters in _parts
        self._bytes = 0  # bytes of the line so far, dropped ones included
        self._state = ""  # what a redrawn line showed last
        self._shown: str | None = None  # the state of this line that was returned last
        self._shown_at = float("-inf")

    @property
    def is_empty(self) -> bool:
        """Nothing is held back."""
        return not (self._bytes or self._state)

    def feed(self, text: str, now: float) -> list[str]:
        """`now` is in seconds, of any clock."""
        if "\r" in text:
            return self._feed_redrawn(text.replace("\r\n", "\n"), now)
        *complete, rest = text.split("\n")
        if complete:
            if self.is_empty:
                complete[0] = cut(complete[0], self._max)
                first: list[str] = []
            else:
                self._hold(complete.pop(0))
                first = self._end()
            complete = [line if len(line) * 4 <= self._max else cut(line, self._max) for line in complete]
            complete = first + complete
        if rest:
            self._hold(rest)
        return complete

    def close(self) -> list[str]:
        """The last line, if it had no newline."""
        return [] if self.is_empty else self._end()

    def _feed_redrawn(self, text: str, now: float) -> list[str]:
        lines: list[str] = []
        for number, line in enumerate(text.split("\n")):
            if number:
                lines += self._end()
            *states, rest = line.split("\r")
            for state in states:
                self._hold(state)
                self._redraw()
                if self._state and self._state != self._shown and now - self._shown_at >= self._redraw_every_s:
                    self._shown, self._shown_at = self._state, now
                    lines.append(self._state)
            self._hold(rest)
        return lines

    def _hold(self, text: str) -> None:
        if not text:
            return
        self._bytes += size_of(text)
        if (room := self._max - self._kept) > 0:
            self._parts.append(text[:room])
            self._kept += min(len(text), room)
            if len(self._parts) > 1024:
                self._parts = ["".join(self._parts)]

    def _redraw(self) -> None:
        """What came since the last return replaces the state, unless it is empty."""
        if self._bytes:
            self._state = cut("".join(self._parts), self._max, self._bytes)
            self._parts, self._kept, self._bytes = [], 0, 0

    def _end(self) -> list[str]:
        self._redraw()
        state, shown = self._state, self._shown
        self._state, self._shown = "", None
        return [] if state and state == shown else [state]
