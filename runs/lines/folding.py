"""Fold printed text into lines, as a terminal shows it. Pure; memory is bounded by the longest line, for any input.

Text is split at newlines. A carriage return, a backspace or a cursor movement (as of progress bars, also nested ones)
redraws earlier text: states of redrawn rows become lines at most once per interval, and the last state always. Text
without a newline becomes a line when it has not changed for `rest_s`, and again after it has grown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runs.lines.screen import CONTROL, INCOMPLETE, TOKENS, Row, Screen, ends_state, is_blank, width_of

_SLOWEST = 60
"""Text that keeps growing becomes a line at growing intervals, up to this many times `redraw_every_s`."""


def size_of(text: str) -> int:
    """Return the size of `text` in UTF-8, in bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, limit_bytes: int, total_bytes: int | None = None) -> str:
    """Truncate `text` to `limit_bytes`, with a mark that names its full size."""
    total = size_of(text) if total_bytes is None else total_bytes
    if total <= limit_bytes:
        return text
    kept = text[:limit_bytes].encode("utf-8", "surrogatepass")[:limit_bytes].decode("utf-8", "ignore")
    return f"{kept} … [cut, {total} bytes in all]"


def redraws(text: str) -> bool:
    """Return whether a terminal would not just append `text`. `\\r\\n` counts as a newline."""
    if "\x1b" not in text and "\b" not in text and "\r" not in text:
        return False
    return CONTROL.search(text) is not None or INCOMPLETE.search(text) is not None


@dataclass(frozen=True, slots=True)
class Folding:
    """Limits of folding."""

    line_max_bytes: int
    redraw_every_s: float
    """Shortest interval between two states of redrawn rows."""
    rest_s: float
    """Time without a change after which text without a newline becomes a line."""
    rows_max: int
    """Number of rows that cursor movements can reach."""


class LineFolder:
    """Fold the text of one stream. `feed`, `rest` and `close` return lines. `now` is in monotonic seconds."""

    def __init__(self, limits: Folding) -> None:
        self._limits = limits
        self._returned_at = float("-inf")
        self._start()

    def _start(self) -> None:
        self._screen = Screen(max_chars=self._limits.line_max_bytes, max_rows=self._limits.rows_max)
        self._escape = ""  # beginning of an escape sequence
        self._changed_at = float("-inf")
        self._dirty_since: float | None = None
        self._growths = 0  # how often the unfinished line was returned

    @property
    def is_empty(self) -> bool:
        """True if no text is held."""
        return self._screen.is_fresh and not self._escape

    @property
    def held_chars(self) -> int:
        return self._screen.chars

    @property
    def due_at(self) -> float:
        """Time at which `rest` has lines to return, without further text; infinite if it has none."""
        if self._dirty_since is None:
            return float("inf")
        limits = self._limits
        settled_at = min(self._changed_at + limits.rest_s, self._dirty_since + limits.redraw_every_s)
        interval_s = limits.redraw_every_s * min(1 << self._growths, _SLOWEST)
        return max(settled_at, self._returned_at + interval_s)

    def feed(self, text: str, now: float) -> list[str]:
        """Return the lines that `text` completes, and the states of redrawn rows that are due."""
        if self._escape:
            text, self._escape = self._escape + text, ""
        text = text.replace("\r\n", "\n")
        if "\x1b" in text and (escape := INCOMPLETE.search(text)):
            text, self._escape = text[: escape.start()], escape.group()
        *complete, rest = text.split("\n")
        lines = self._complete(complete, now, plain=not redraws(text))
        if rest:
            lines += self._write(rest, now)
            self._note_change(now)
        return lines

    def rest(self, now: float) -> list[str]:
        """Return unfinished text and redrawn rows that have not changed for long enough."""
        if self.due_at > now:
            return []
        if self._screen.is_growing:
            self._growths = min(self._growths + 1, 10)
        return self._states(now)

    def close(self) -> list[str]:
        """Return the remaining lines, at the end of the stream."""
        rows = self._screen.rows
        if self._escape:
            rows[-1].write(rows[-1].width, self._escape)
        lines = self._lines(row for row in rows if width_of(row.text))
        self._start()
        return lines

    def _complete(self, complete: list[str], now: float, *, plain: bool) -> list[str]:
        lines: list[str] = []
        for number, line in enumerate(complete):
            if self._screen.is_fresh and plain:
                return lines + [self._cut(line) for line in complete[number:]]
            if self._screen.is_fresh and not redraws(line):
                lines.append(self._cut(line))
                continue
            lines += self._write(line, now) + self._lines(self._screen.newline())
            self._growths = 0
            self._note_change(now)
        return lines

    def _write(self, text: str, now: float) -> list[str]:
        """Write text without newlines to the screen. Return the lines that are due before they are redrawn."""
        screen, lines = self._screen, []
        for piece in TOKENS.split(text) if redraws(text) else (text,):
            if not piece:
                continue
            if piece[0] in "\r\b\x1b" and CONTROL.fullmatch(piece):
                if ends_state(piece) and self._is_state_due(now):
                    lines += self._states(now)
                screen.control(piece)
            else:
                lines += self._lines(screen.write(piece))
        return lines

    def _is_state_due(self, now: float) -> bool:
        return now - self._returned_at >= self._limits.redraw_every_s and self._screen.is_changed

    def _states(self, now: float) -> list[str]:
        """Return the current text of changed rows, except blank ones."""
        lines = []
        for row in self._screen.rows:
            if row.is_changed:
                row.is_changed = False
                line = self._line(row)
                if line != row.shown and not is_blank(line):
                    row.shown = line
                    lines.append(line)
        self._dirty_since = None
        if lines:
            self._returned_at = now
        return lines

    def _lines(self, rows: Iterable[Row]) -> list[str]:
        """Return the text of complete rows, except those that were returned unchanged, or erased."""
        lines = []
        for row in rows:
            line = self._line(row)
            if line != row.shown and not (row.is_redrawn and is_blank(line)):
                lines.append(line)
        return lines

    def _line(self, row: Row) -> str:
        text = row.text.rstrip() if row.is_redrawn else row.text
        return cut(text, self._limits.line_max_bytes, size_of(text) + row.dropped)

    def _cut(self, line: str) -> str:
        limit = self._limits.line_max_bytes
        return line if len(line) * 4 <= limit else cut(line, limit)

    def _note_change(self, now: float) -> None:
        self._changed_at = now
        if not self._screen.is_changed:
            self._dirty_since = None
        elif self._dirty_since is None:
            self._dirty_since = now
