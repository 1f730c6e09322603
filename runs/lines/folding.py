"""Fold printed text into lines, as a terminal shows it. Pure; memory is bounded by the longest line, whatever comes in.

Text is split at newlines. A carriage return, a backspace or a cursor movement (progress bars, also nested ones) redraws
what was printed before: states of redrawn rows become lines at most once in a while, and the last state always. Text
without a newline becomes a line when it has not changed for a moment, and again after it has grown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runs.lines.screen import CONTROL, INCOMPLETE, TOKENS, Row, Screen, ends_state, is_blank, width_of

_SLOWEST = 60
"""Text that keeps growing becomes a line at ever longer intervals, up to so many times `redraw_every_s`."""


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


def redraws(text: str) -> bool:
    """Whether a terminal would do something else with `text` than append it. `\\r\\n` counts as a newline."""
    if "\x1b" not in text and "\b" not in text and "\r" not in text:
        return False
    return CONTROL.search(text) is not None or INCOMPLETE.search(text) is not None


@dataclass(frozen=True, slots=True)
class Folding:
    """Limits of folding."""

    line_max_bytes: int
    redraw_every_s: float
    """States of redrawn rows become lines at most so often."""
    rest_s: float
    """Text without a newline that has not changed for so long becomes a line."""
    rows_max: int
    """Rows that cursor movements can reach."""


class LineFolder:
    """Folds the text of one stream. `feed`, `rest` and `close` return lines. `now` is in seconds, of any clock that
    only grows.
    """

    def __init__(self, limits: Folding) -> None:
        self._limits = limits
        self._returned_at = float("-inf")
        self._start()

    def _start(self) -> None:
        self._screen = Screen(max_chars=self._limits.line_max_bytes, max_rows=self._limits.rows_max)
        self._escape = ""  # the beginning of an escape sequence
        self._changed_at = float("-inf")
        self._dirty_since: float | None = None
        self._growths = 0  # how often the unfinished line was returned

    @property
    def is_empty(self) -> bool:
        """Nothing is held back."""
        return self._screen.is_fresh and not self._escape

    @property
    def held_chars(self) -> int:
        return self._screen.chars

    @property
    def due_at(self) -> float:
        """When `rest` has lines to return, if nothing comes before; infinite if it has none."""
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
        """Return unfinished text and redrawn rows that have been at rest long enough."""
        if self.due_at > now:
            return []
        if self._screen.is_growing:
            self._growths = min(self._growths + 1, 10)
        return self._states(now)

    def close(self) -> list[str]:
        """Return everything that is left, at the end of the stream."""
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
        """Write text without newlines on the screen; returns what is due before it is redrawn."""
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
        """What changed rows show now; blank ones show nothing."""
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
        """Rows that are complete, without those that were returned as they are, or erased."""
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
