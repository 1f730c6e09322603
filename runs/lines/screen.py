"""Small terminal: the rows that cursor movements can still change. Pure; bounded in rows and characters.

It interprets controls that move the cursor or erase; colours stay in the text. Movements above the first row add blank
rows, since their former text has become lines already. Each character counts as one column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CSI = r"\x1b\[[0-9;?]*[A-HJKSTfhlsu]"
CONTROL = re.compile(rf"[\r\x08]|{_CSI}|\x1b[78]")
"""Controls of a terminal, except newlines and colours."""
TOKENS = re.compile(rf"(\r|\x08|{_CSI}|\x1b[78])")
INCOMPLETE = re.compile(r"\x1b(?:\[[0-9;?]{0,30})?\Z")
"""Beginning of an escape sequence at the end of a text."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CELL = re.compile(r"(?:\x1b\[[0-9;:]*m)*(?:[^\x1b]|\x1b(?!\[[0-9;:]*m))|(?:\x1b\[[0-9;:]*m)+\Z", re.DOTALL)
_PARTS_MAX = 1024
_COLOUR_MAX_CHARS = 100


def width_of(text: str) -> int:
    """Count the columns of `text`, without its colours."""
    return len(_COLOUR.sub("", text)) if "\x1b" in text else len(text)


def is_blank(text: str) -> bool:
    """Return whether `text` is blank on a terminal."""
    return not (_COLOUR.sub("", text) if "\x1b" in text else text).strip()


def ends_state(control: str) -> bool:
    """Return whether a control ends a state of the screen: a carriage return, or a movement to another row."""
    return control == "\r" or (len(control) > 1 and control[-1] in "ABEFHf")


def overlay(text: str, column: int, new: str) -> str:
    """Write `new` over `text` from `column` on. Colours belong to the character after them."""
    if "\x1b" not in text and "\x1b" not in new:
        return text[:column] + new + text[column + len(new) :]
    cells = _CELL.findall(text)
    return "".join(cells[:column]) + new + "".join(cells[column + width_of(new) :])


@dataclass(slots=True)
class Row:
    """Row with its text, and the last line that was made of it."""

    max_chars: int
    is_redrawn: bool = False
    """True if text of it was overwritten or erased."""
    is_changed: bool = False
    """True if it has changed since its last line."""
    shown: str | None = None
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    width: int = 0
    dropped: int = 0
    """Number of bytes beyond `max_chars`, which are not kept."""

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""

    def write(self, column: int, new: str) -> None:
        if column >= self.width:
            gap = 0 if self.dropped else min(column - self.width, self.max_chars)
            self._append(" " * gap + new)
        else:
            self._replace(overlay(self.text, column, new), self.dropped)

    def erase(self, start: int, end: int | None) -> None:
        """Erase the columns from `start` to `end`, or to the end of the row."""
        if start >= self.width:
            return
        if end is None:
            self._replace("".join(_CELL.findall(self.text)[:start]))
        else:
            self._replace(overlay(self.text, start, " " * (min(end, self.width) - start)), self.dropped)

    def _append(self, new: str) -> None:
        kept = new[: max(self.max_chars - self.chars, 0)]
        if len(kept) < len(new):
            self.dropped += len(new[len(kept) :].encode("utf-8", "surrogatepass"))
        self.parts.append(kept)
        self.chars += len(kept)
        self.width += width_of(kept)
        self.is_changed = True
        if len(self.parts) > _PARTS_MAX:
            self.parts = [self.text]

    def _replace(self, text: str, dropped: int = 0) -> None:
        self.parts, self.chars, self.width, self.dropped = [], 0, 0, dropped
        self._append(text)
        self.is_redrawn = True


class Screen:
    """Rows and a cursor. Operations return the rows that are complete."""

    def __init__(self, *, max_chars: int, max_rows: int) -> None:
        self._max_chars, self._max_rows = max_chars, max_rows
        self._reset()

    def _reset(self) -> None:
        self.rows = [Row(self._max_chars)]
        self.chars = 0
        self._at = self._column = 0
        self._colour = ""  # for the next character that overwrites another

    @property
    def is_fresh(self) -> bool:
        """True if it has nothing but an empty row."""
        return len(self.rows) == 1 and not self.rows[0].width and not self.rows[0].chars

    @property
    def is_changed(self) -> bool:
        return any(row.is_changed for row in self.rows)

    @property
    def is_growing(self) -> bool:
        """True if text was only appended."""
        return not any(row.is_redrawn for row in self.rows)

    def write(self, text: str) -> list[Row]:
        """Write text without controls at the cursor. Return the rows that were dropped to make room."""
        row = self.rows[self._at]
        text, self._colour = self._colour + text, ""
        if self._column < row.width and not width_of(text):
            self._colour = text[-_COLOUR_MAX_CHARS:]
            return []
        before = row.chars
        row.write(self._column, text)
        self._column += width_of(text)
        self.chars += row.chars - before
        return self._make_room() if self.chars > self._max_chars else []

    def newline(self) -> list[Row]:
        """Move to the next row. After the last one, return all rows, which are complete."""
        if self._at + 1 < len(self.rows):
            self._at, self._column = self._at + 1, 0
            return []
        rows = self.rows
        self._reset()
        return rows

    def control(self, control: str) -> None:
        """Execute a control that CONTROL matches. Those that neither move nor erase are ignored."""
        if control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(self._column - 1, 0)
        elif control.startswith("\x1b[") and "?" not in control:
            first = control[2:-1].split(";", maxsplit=1)[0]
            self._csi(control[-1], int(first[:6]) if first else None)

    def _csi(self, letter: str, number: int | None) -> None:
        count = max(number or 1, 1)
        if letter in "AF":
            self._up(count)
        elif letter in "BE":
            self._down(count)
        elif letter == "C":
            self._column = min(self._column + count, self._max_chars)
        elif letter == "D":
            self._column = max(self._column - count, 0)
        elif letter == "G":
            self._column = min(count - 1, self._max_chars)
        elif letter in "Hf":
            self._at = self._column = 0
        elif letter == "K":
            self._erase_in_row(number or 0)
        elif letter == "J":
            self._erase_rows(number or 0)
        if letter in "EF":
            self._column = 0

    def _up(self, count: int) -> None:
        added = min(max(count - self._at, 0), self._max_rows - len(self.rows))
        if added > 0:
            self.rows[:0] = [Row(self._max_chars, is_redrawn=True) for _ in range(added)]
            self._at += added
        self._at = max(self._at - count, 0)

    def _down(self, count: int) -> None:
        added = min(self._at + count + 1, self._max_rows) - len(self.rows)
        self.rows += [Row(self._max_chars, is_redrawn=True) for _ in range(added)]
        self._at = min(self._at + count, len(self.rows) - 1)

    def _erase_in_row(self, mode: int) -> None:
        row = self.rows[self._at]
        start, end = (self._column, None) if mode == 0 else (0, self._column + 1) if mode == 1 else (0, None)
        row.erase(start, end)
        self._count()

    def _erase_rows(self, mode: int) -> None:
        if mode == 0:
            self.rows[self._at].erase(self._column, None)
        erased = self.rows[self._at + 1 :] if mode == 0 else self.rows[: self._at] if mode == 1 else self.rows
        for row in erased:
            row.erase(0, None)
        self._count()

    def _count(self) -> None:
        self.chars = sum(row.chars for row in self.rows)

    def _make_room(self) -> list[Row]:
        """Drop the first rows until the text fits again, but not the one at the cursor."""
        dropped: list[Row] = []
        while self.chars > self._max_chars and self._at > 0:
            dropped.append(self.rows.pop(0))
            self._at -= 1
            self.chars -= dropped[-1].chars
        if self.chars > self._max_chars and len(self.rows) > 1:
            dropped += self.rows[1:]
            self.rows = self.rows[:1]
            self._count()
        return dropped
