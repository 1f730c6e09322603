"""The rows that cursor movements can still change, as a small terminal. Pure; bounded in rows and characters.

Only what moves the cursor or erases is carried out; colours stay in the text. Movements above the first row add blank
rows, whose former text has become lines already. A character counts as one column, whatever its width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CSI = r"\x1b\[[0-9;?]*[A-HJKSTfhlsu]"
CONTROL = re.compile(rf"[\r\x08]|{_CSI}|\x1b[78]")
"""What a terminal carries out instead of showing it, apart from newlines and colours."""
TOKENS = re.compile(rf"(\r|\x08|{_CSI}|\x1b[78])")
INCOMPLETE = re.compile(r"\x1b(?:\[[0-9;?]{0,30})?\Z")
"""The beginning of an escape sequence at the end of a text."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CELL = re.compile(r"(?:\x1b\[[0-9;:]*m)*(?:[^\x1b]|\x1b(?!\[[0-9;:]*m))|(?:\x1b\[[0-9;:]*m)+\Z", re.DOTALL)
_PARTS_MAX = 1024
_COLOUR_MAX_CHARS = 100


def width_of(text: str) -> int:
    """Columns of `text`, without its colours."""
    return len(_COLOUR.sub("", text)) if "\x1b" in text else len(text)


def is_blank(text: str) -> bool:
    """Whether a terminal shows nothing of `text`."""
    return not (_COLOUR.sub("", text) if "\x1b" in text else text).strip()


def ends_state(control: str) -> bool:
    """Whether what a screen shows before this control is complete: a return, or a movement to another row."""
    return control == "\r" or (len(control) > 1 and control[-1] in "ABEFHf")


def overlay(text: str, column: int, new: str) -> str:
    """`text` with `new` written over it from `column` on; colours go with the character that follows them."""
    if "\x1b" not in text and "\x1b" not in new:
        return text[:column] + new + text[column + len(new) :]
    cells = _CELL.findall(text)
    return "".join(cells[:column]) + new + "".join(cells[column + width_of(new) :])


@dataclass(slots=True)
class Row:
    """One row: its text, and the line that was made of it last."""

    max_chars: int
    is_redrawn: bool = False
    """Something of it was written over or erased."""
    is_changed: bool = False
    """Since `line` was taken."""
    shown: str | None = None
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    width: int = 0
    dropped: int = 0
    """Bytes beyond `max_chars`, which are counted and not kept."""

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
    """Rows and a cursor. Operations add the lines that are complete to `lines`, as rows."""

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
        """Nothing but an empty row."""
        return len(self.rows) == 1 and not self.rows[0].width and not self.rows[0].chars

    @property
    def is_changed(self) -> bool:
        return any(row.is_changed for row in self.rows)

    @property
    def is_growing(self) -> bool:
        """Whether text was only appended to it."""
        return not any(row.is_redrawn for row in self.rows)

    def write(self, text: str) -> list[Row]:
        """Write text without controls at the cursor; returns rows that had to go."""
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
        """Go to the next row; returns all rows if that was the last one, which are complete then."""
        if self._at + 1 < len(self.rows):
            self._at, self._column = self._at + 1, 0
            return []
        rows = self.rows
        self._reset()
        return rows

    def control(self, control: str) -> None:
        """Carry out what CONTROL matches; what is neither a movement nor an erasure is dropped."""
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
        """Let the first rows go until the text fits again, but not the one at the cursor."""
        gone: list[Row] = []
        while self.chars > self._max_chars and self._at > 0:
            gone.append(self.rows.pop(0))
            self._at -= 1
            self.chars -= gone[-1].chars
        if self.chars > self._max_chars and len(self.rows) > 1:
            gone += self.rows[1:]
            self.rows = self.rows[:1]
            self._count()
        return gone
