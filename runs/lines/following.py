"""Following what attempts write: each record once, in the order of each attempt, as it is stored.

While the run lives, a gap is not passed: what is missing may still be stored. Once it is final, everything that is
stored is given. `seen` (attempt → last seq given) is the whole state; who comes back with it misses nothing.
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
    """How far there is something to read."""

    final: bool
    upto: list[tuple[int, int]]
    """(attempt, last seq that may be read), in order."""


def marks(run_id: int, column: str) -> Marks:
    """Of `lines_stored` or `results_stored`. A run that is gone is final and has nothing."""
    status = Run.objects.filter(pk=run_id).values_list("status", flat=True).first()
    final = status is None or status in FINAL  # asked first: what is stored after that is not taken for all
    kept = Attempt.objects.filter(run_id=run_id).order_by("number").values_list("number", column)
    return Marks(final, [(n, ranges.last(r) if final else ranges.high_water(r)) for n, r in kept])


class Reading(Generic[T]):
    """The part that lines and results share. A subclass says its column, and how to read rows."""

    column: str

    def __init__(self, run_id: int, *, seen: Mapping[int, int] | None = None) -> None:
        self.run_id = run_id
        self.seen = dict(seen or {})

    def advance(self, limit: int) -> tuple[list[T], bool]:
        """What has come since the last call, at most `limit`; and whether nothing will come any more."""
        found: list[T] = []
        final, stored = marks(self.run_id, self.column)
        for number, upto in stored:
            found += self._of(number, upto, limit - len(found))
            if len(found) >= limit:
                return found, False
        return found, final

    def _of(self, number: int, upto: int, limit: int) -> list[T]:
        last = self.seen.get(number, 0)
        if upto <= last:
            return []
        rows = self.rows(number, last, upto, limit)
        self.seen[number] = rows[-1].seq if len(rows) == limit else upto
        return rows

    def rows(self, number: int, after: int, upto: int, limit: int) -> list[T]:
        """Of attempt `number`, those with after < seq ≤ upto, in order."""
        raise NotImplementedError


def write(seen: Mapping[int, int]) -> str:
    """`1:500,2:30`."""
    return ",".join(f"{attempt}:{seq}" for attempt, seq in sorted(seen.items()))


def read(text: str) -> Seen:
    """The other way. Raises ValueError."""
    found: Seen = {}
    for item in text[:4000].split(","):
        if item:
            attempt, seq = map(int, item.split(":"))
            if not (0 < attempt < 2**31 and 0 <= seq < 2**63):
                raise ValueError(f"{item[:100]!r} names what cannot be")
            found[attempt] = seq
    return found
