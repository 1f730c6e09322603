"""Reading of lines: a page from any place, all lines, or new lines of a live run.

A page costs the same at line 10 and at line 10 million: it is read by the primary key (run, attempt, seq), without
OFFSET or counting. Filters without an index (text, source) are applied window by window, within a time limit. No
function writes or waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import QuerySet

from runs.conf import runs_settings
from runs.lines import following
from runs.lines.records import Line
from runs.models import Attempt, LogLine
from runs.states import Level

_COLUMNS = ("attempt", "seq", "time", "level", "source", "message", "metadata")
_INDEXED = "level >= 30"
"""Condition of the index `line_warning`, as a literal: a parameter would not match the index."""


class Place(NamedTuple):
    """Address of a line within its run, written `2.500`. `500` alone is of attempt 1."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}.{self.seq}"


BATCH = 2_000
"""Number of lines read at once when all lines are read."""
WINDOW = 50_000
"""Number of lines searched at once for a filter without an index."""
START = Place(1, 0)
"""Before the first line."""


def place(text: str) -> Place:
    """Parse a place. Raises ValueError."""
    attempt, dot, seq = text.strip().partition(".")
    parsed = Place(int(attempt), int(seq)) if dot else Place(1, int(attempt))
    if parsed.attempt < 0 or parsed.seq < 0 or max(parsed) >= 2**63:
        raise ValueError(f"Invalid place {text!r}. Use a line number such as 500, or 2.500 with its attempt.")
    return parsed


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filter of lines: minimum level, source (empty: any), text (case-insensitive)."""

    level: int = 0
    source: str = ""
    text: str = ""

    def takes(self, line: Line) -> bool:
        return (
            line.level >= self.level
            and (not self.source or line.source == self.source)
            and (not self.text or self.text.casefold() in line.message.casefold())
        )

    @property
    def is_everything(self) -> bool:
        return not (self.level or self.source or self.text)

    @property
    def is_searched(self) -> bool:
        """True if no index covers the filter, so that lines must be searched."""
        return bool(self.text or self.source or 0 < self.level < Level.WARNING)


ALL = Wanted()


class Found(NamedTuple):
    lines: list[Line]
    stopped: Place | None
    """Place at which the time limit ended the search; None if the page is full or no more lines match."""


def after(run_id: int, place: Place = START, wanted: Wanted = ALL, *, limit: int | None = None) -> list[Line]:
    """Return the first lines after `place`, in order. `limit` defaults to a page."""
    return find(run_id, place, wanted, limit=limit).lines


def before(run_id: int, place: Place | None = None, wanted: Wanted = ALL, *, limit: int | None = None) -> list[Line]:
    """Return the last lines before `place` (None: the last of all), in order. `limit` defaults to a page."""
    return find_back(run_id, place, wanted, limit=limit).lines


def find(
    run_id: int, place: Place = START, wanted: Wanted = ALL, *, limit: int | None = None, budget_s: float | None = None
) -> Found:
    """Like `after`, but stop the search after `budget_s`, and return its place."""
    page, deadline = limit or runs_settings().page_size, _deadline(budget_s)
    lines: list[Line] = []
    for number in _attempts(run_id):
        if number < place.attempt:
            continue
        low = place.seq if number == place.attempt else 0
        for first, last in _windows(run_id, number, wanted, low):
            if len(lines) >= page:
                return Found(lines, None)
            if time.monotonic() > deadline:
                return Found(lines, Place(number, first))
            rows = _of(run_id, number, wanted).filter(seq__gt=first, seq__lte=last)
            lines += _read(rows.order_by("seq"), page - len(lines))
    return Found(lines, None)


def find_back(
    run_id: int,
    place: Place | None = None,
    wanted: Wanted = ALL,
    *,
    limit: int | None = None,
    budget_s: float | None = None,
) -> Found:
    """Like `before`, but stop the search after `budget_s`, and return its place."""
    page, deadline = limit or runs_settings().page_size, _deadline(budget_s)
    lines: list[Line] = []
    for number in reversed(_attempts(run_id)):
        if place and number > place.attempt:
            continue
        high = place.seq if place and number == place.attempt else None
        for first, last in _windows_back(run_id, number, wanted, high):
            if len(lines) >= page:
                return Found(lines[::-1], None)
            if time.monotonic() > deadline:
                return Found(lines[::-1], Place(number, last))
            rows = _of(run_id, number, wanted).filter(seq__gte=first, seq__lt=last)
            lines += _read(rows.order_by("-seq"), page - len(lines))
    return Found(lines[::-1], None)


class Count(NamedTuple):
    lines: int
    is_complete: bool
    """False if the time limit ended the count."""


def count(run_id: int, wanted: Wanted, *, budget_s: float) -> Count:
    """Count the matching lines that are stored, window by window, for at most `budget_s`."""
    deadline, total = _deadline(budget_s), 0
    for number in _attempts(run_id):
        for first in range(0, _last(run_id, number), WINDOW):
            if time.monotonic() > deadline:
                return Count(total, is_complete=False)
            total += _of(run_id, number, wanted).filter(seq__gt=first, seq__lte=first + WINDOW).count()
    return Count(total, is_complete=True)


def last_place(run_id: int) -> Place | None:
    """Return the place of the last stored line of the newest attempt with one."""
    for number in reversed(_attempts(run_id)):
        if seq := _last(run_id, number):
            return Place(number, seq)
    return None


def every(run_id: int, start: Place = START, wanted: Wanted = ALL) -> Iterator[Line]:
    """Yield all stored lines after `start`, page by page, in bounded memory."""
    size = max(runs_settings().page_size, BATCH)
    while lines := after(run_id, start, wanted, limit=size):
        yield from lines
        if len(lines) < size:
            return
        start = Place(lines[-1].attempt, lines[-1].seq)


def at(run_id: int, moment: datetime) -> Place | None:
    """Return the first line not before `moment`, or the last of all, by binary search: times nearly grow with seqs."""
    nearest: Place | None = None
    for number in _attempts(run_id):
        rows = LogLine.objects.filter(run_id=run_id, attempt=number)
        last = rows.order_by("-seq").values_list("seq", "time").first()
        if last is None:
            continue
        nearest = Place(number, last[0])
        if last[1] < moment:
            continue
        low, high = 0, last[0]  # the place is in (low, high]
        while high - low > 1:
            middle = (low + high) // 2
            seq, time_ = rows.filter(seq__gte=middle).order_by("seq").values_list("seq", "time")[0]
            low, high = (low, min(seq, high - 1)) if time_ >= moment else (max(seq, middle), high)
        return Place(number, high)
    return nearest


class Read(NamedTuple):
    lines: list[Line]
    complete: bool
    """True if the run is final and its last line was read."""


class Follower(following.Reading[Line]):
    """Return each line of a run once, in the order of each attempt; see `runs.lines.following`."""

    column = "lines_stored"

    def __init__(self, run_id: int, *, seen: Mapping[int, int] | None = None, wanted: Wanted = ALL) -> None:
        super().__init__(run_id, seen=seen)
        self.wanted = wanted

    def rewind(self, *, limit: int | None = None) -> list[Line]:
        """Return the last lines so far, at most `limit` (default: a page). `read` continues after them."""
        page = limit or runs_settings().page_size
        self.seen |= dict(following.marks(self.run_id, self.column).upto)
        lines: list[Line] = []
        for number, upto in sorted(self.seen.items(), reverse=True):
            if upto and len(lines) < page:
                rows = _of(self.run_id, number, self.wanted).filter(seq__lte=upto)
                lines += _read(rows.order_by("-seq"), page - len(lines))
        return lines[::-1]

    def read(self, *, limit: int | None = None) -> Read:
        """Return the lines since the last call, at most `limit` (default: a page). A deleted run is complete."""
        return Read(*self.advance(limit or runs_settings().page_size))

    def rows(self, number: int, after: int, upto: int, limit: int) -> list[Line]:
        return _read(_of(self.run_id, number, self.wanted).filter(seq__gt=after, seq__lte=upto).order_by("seq"), limit)


def _deadline(budget_s: float | None) -> float:
    return float("inf") if budget_s is None else time.monotonic() + budget_s


def _attempts(run_id: int) -> list[int]:
    return list(Attempt.objects.filter(run_id=run_id).order_by("number").values_list("number", flat=True))


def _windows(run_id: int, attempt: int, wanted: Wanted, low: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (after, up to) that together cover everything after `low`."""
    if not wanted.is_searched:
        yield low, 2**62
        return
    last = _last(run_id, attempt)
    while low < last:
        yield low, low + WINDOW
        low += WINDOW


def _windows_back(run_id: int, attempt: int, wanted: Wanted, high: int | None) -> Iterator[tuple[int, int]]:
    """Yield pairs (from, before) that together cover everything before `high`."""
    if not wanted.is_searched:
        yield 0, 2**62 if high is None else high
        return
    end = _last(run_id, attempt) + 1 if high is None else high
    while end > 1:
        yield max(1, end - WINDOW), end
        end -= WINDOW


def _last(run_id: int, attempt: int) -> int:
    rows = LogLine.objects.filter(run_id=run_id, attempt=attempt)
    return rows.order_by("-seq").values_list("seq", flat=True).first() or 0


def _of(run_id: int, attempt: int, wanted: Wanted) -> QuerySet[LogLine]:
    lines = LogLine.objects.filter(run_id=run_id, attempt=attempt)
    if wanted.level:
        lines = lines.filter(level__gte=wanted.level)
    if wanted.level >= Level.WARNING:
        lines = lines.extra(where=[_INDEXED])  # noqa: S610  # nosec B610  # a constant
    if wanted.text:
        lines = lines.filter(message__icontains=wanted.text)
    return lines.filter(source=wanted.source) if wanted.source else lines


def _read(lines: QuerySet[LogLine], limit: int) -> list[Line]:
    if limit <= 0:
        return []
    return [
        Line(attempt, seq, time.timestamp(), *rest)
        for attempt, seq, time, *rest in lines.values_list(*_COLUMNS)[:limit]
    ]
