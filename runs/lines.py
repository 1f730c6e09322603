"""Reading lines: a page from any place, all of them, or following them while they come.

A page costs the same at line 10 and at line 10 million: it is found by the primary key (run, attempt, seq), never by
OFFSET. Nothing here writes or waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import QuerySet

from runs import ranges
from runs.conf import runs_settings
from runs.models import Attempt, LogLine, Run
from runs.records import Line
from runs.states import FINAL

_COLUMNS = ("attempt", "seq", "time", "level", "source", "message", "metadata")


class Place(NamedTuple):
    """A line's address within its run. Written `2.500`; `500` alone is of attempt 1."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}.{self.seq}"


BATCH = 2_000
"""Lines read at once when all of them are wanted."""
START = Place(1, 0)
"""Before the first line."""


def place(text: str) -> Place:
    """The place that `text` writes. Raises ValueError."""
    attempt, dot, seq = text.strip().partition(".")
    found = Place(int(attempt), int(seq)) if dot else Place(1, int(attempt))
    if found.attempt < 0 or found.seq < 0 or max(found) >= 2**63:
        raise ValueError(f"{text!r} is no place; write a line's number, as 500, or its attempt too, as 2.500")
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: of at least this level, of this source (empty: any)."""

    level: int = 0
    source: str = ""


ALL = Wanted()


def after(run_id: int, place: Place = START, wanted: Wanted = ALL, *, limit: int | None = None) -> list[Line]:
    """The first lines after `place`, in order; `limit` is a page by default."""
    left = limit or runs_settings().page_size
    found: list[Line] = []
    for number in _attempts(run_id):
        if number < place.attempt or left <= 0:
            continue
        lines = _of(run_id, number, wanted).order_by("seq")
        if number == place.attempt:
            lines = lines.filter(seq__gt=place.seq)
        found += _read(lines, left)
        left = (limit or runs_settings().page_size) - len(found)
    return found


def before(run_id: int, place: Place | None = None, wanted: Wanted = ALL, *, limit: int | None = None) -> list[Line]:
    """The last lines before `place` (None: the last there are), in order; `limit` is a page by default."""
    left = limit or runs_settings().page_size
    found: list[Line] = []
    for number in reversed(_attempts(run_id)):
        if (place and number > place.attempt) or left <= 0:
            continue
        lines = _of(run_id, number, wanted).order_by("-seq")
        if place and number == place.attempt:
            lines = lines.filter(seq__lt=place.seq)
        found += _read(lines, left)
        left = (limit or runs_settings().page_size) - len(found)
    return found[::-1]


def every(run_id: int, start: Place = START, wanted: Wanted = ALL) -> Iterator[Line]:
    """All lines after `start` that are stored when they are reached, page by page, in bounded memory."""
    size = max(runs_settings().page_size, BATCH)
    while lines := after(run_id, start, wanted, limit=size):
        yield from lines
        if len(lines) < size:
            return
        start = Place(lines[-1].attempt, lines[-1].seq)


class Read(NamedTuple):
    lines: list[Line]
    complete: bool
    """The run is final and this was its last line: nothing will come any more."""


class Follower:
    """Gives each line of a run once, in the order of each attempt, as they are stored.

    While the run lives, a gap is not passed: what is missing may still be stored. Once it is final, everything that is
    stored is given. `seen` (attempt → last seq given) is its whole state; who comes back with it misses nothing.
    """

    def __init__(self, run_id: int, *, seen: Mapping[int, int] | None = None, wanted: Wanted = ALL) -> None:
        self.run_id = run_id
        self.wanted = wanted
        self.seen = dict(seen or {})

    def rewind(self, *, limit: int | None = None) -> list[Line]:
        """The last lines that `read` would have given, at most `limit` (a page); `read` goes on after them."""
        left = page = limit or runs_settings().page_size
        found: list[Line] = []
        _, stored = self._stored()
        for number, upto in reversed(stored):
            self.seen[number] = upto
            if upto and left > 0:
                found += _read(_of(self.run_id, number, self.wanted).filter(seq__lte=upto).order_by("-seq"), left)
                left = page - len(found)
        return found[::-1]

    def read(self, *, limit: int | None = None) -> Read:
        """What has come since the last call, at most `limit` (a page) of it; a deleted run is complete."""
        left = page = limit or runs_settings().page_size
        found: list[Line] = []
        final, stored = self._stored()
        for number, upto in stored:
            found += self._advance(number, upto, left)
            left = page - len(found)
            if left <= 0:
                return Read(found, complete=False)
        return Read(found, complete=final)

    def _stored(self) -> tuple[bool, list[tuple[int, int]]]:
        """Whether the run is final, and for each attempt up to which line it may be read."""
        status = Run.objects.filter(pk=self.run_id).values_list("status", flat=True).first()
        final = status is None or status in FINAL  # asked first: what is stored after that is not taken for all
        kept = Attempt.objects.filter(run_id=self.run_id).order_by("number").values_list("number", "lines_stored")
        return final, [(n, r[-1][1] if final and r else ranges.high_water(r)) for n, r in kept]

    def _advance(self, number: int, upto: int, limit: int) -> list[Line]:
        last = self.seen.get(number, 0)
        if upto <= last:
            return []
        lines = _read(_of(self.run_id, number, self.wanted).filter(seq__gt=last, seq__lte=upto).order_by("seq"), limit)
        self.seen[number] = lines[-1].seq if len(lines) == limit else upto
        return lines


def _attempts(run_id: int) -> list[int]:
    return list(Attempt.objects.filter(run_id=run_id).order_by("number").values_list("number", flat=True))


def _of(run_id: int, attempt: int, wanted: Wanted) -> QuerySet[LogLine]:
    lines = LogLine.objects.filter(run_id=run_id, attempt=attempt)
    if wanted.level:
        lines = lines.filter(level__gte=wanted.level)
    return lines.filter(source=wanted.source) if wanted.source else lines


def _read(lines: QuerySet[LogLine], limit: int) -> list[Line]:
    return [
        Line(attempt, seq, time.timestamp(), *rest)
        for attempt, seq, time, *rest in lines.values_list(*_COLUMNS)[:limit]
    ]
