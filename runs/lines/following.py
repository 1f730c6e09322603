"""Following of a run's lines or results: each record once, in the order of each attempt, as they are stored.

While the run is active, reading stops at a gap: the missing records may still be stored. When it is final, all stored
records are read. `seen` (attempt → last seq read) is the whole state: a reader that resumes with it misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from runs.lines import ranges
from runs.models import Attempt, Run
from runs.states import FINAL

Seen = dict[int, int]


class Positioned(Protocol):
    @property
    def attempt(self) -> int: ...
    @property
    def seq(self) -> int: ...


T = TypeVar("T", bound=Positioned)


class Marks(NamedTuple):
    """Records of a run that may be read now."""

    final: bool
    upto: list[tuple[int, int]]
    """(attempt, last seq that may be read), in order."""


def marks(run_id: int, column: str) -> Marks:
    """Read the marks of the column `lines_stored` or `results_stored`. A deleted run is final and has no records."""
    status = Run.objects.filter(pk=run_id).values_list("status", flat=True).first()
    final = status is None or status in FINAL  # read first: records that are stored later must not count as all
    stored = Attempt.objects.filter(run_id=run_id).order_by("number").values_list("number", column)
    return Marks(final, [(n, ranges.last(r) if final else ranges.high_water(r)) for n, r in stored])


class Reading(Generic[T]):
    """Base of the followers of lines and results. A subclass defines the column and reads the rows."""

    column: str

    def __init__(self, run_id: int, *, seen: Mapping[int, int] | None = None) -> None:
        self.run_id = run_id
        self.seen = dict(seen or {})

    def advance(self, limit: int) -> tuple[list[T], bool]:
        """Return the records since the last call, at most `limit`, and whether no more will follow."""
        records: list[T] = []
        final, stored = marks(self.run_id, self.column)
        for number, upto in stored:
            records += self._of(number, upto, limit - len(records))
            if len(records) >= limit:
                return records, False
        return records, final

    def _of(self, number: int, upto: int, limit: int) -> list[T]:
        last = self.seen.get(number, 0)
        if upto <= last:
            return []
        rows = self.rows(number, last, upto, limit)
        self.seen[number] = rows[-1].seq if len(rows) == limit else upto
        return rows

    def rows(self, number: int, after: int, upto: int, limit: int) -> list[T]:
        """Read the records of attempt `number` with after < seq ≤ upto, in order."""
        raise NotImplementedError


def write(seen: Mapping[int, int]) -> str:
    """Format as `1:500,2:30`."""
    return ",".join(f"{attempt}:{seq}" for attempt, seq in sorted(seen.items()))


def read(text: str) -> Seen:
    """Parse the format of `write`. Raises ValueError."""
    seen: Seen = {}
    for item in text[:4000].split(","):
        if item:
            attempt, seq = map(int, item.split(":"))
            if not (0 < attempt < 2**31 and 0 <= seq < 2**63):
                raise ValueError(f"Invalid position {item[:100]!r}")
            seen[attempt] = seq
    return seen
