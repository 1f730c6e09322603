"""Storage of lines and results: each once, under its key (run, attempt, seq).

Storing the same entries again changes nothing, from any number of processes at once. A call is one transaction: it
stores the rows and the ranges of the attempts, or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import transaction

from runs.conf import runs_settings
from runs.lines import ranges
from runs.lines.blocks import Span
from runs.lines.buffer.keys import Stream
from runs.lines.ranges import Ranges
from runs.lines.store import rows
from runs.lines.store.rows import Placed, Row
from runs.lines.store.writing import write
from runs.models import Attempt
from runs.states import AttemptKey

logger = logging.getLogger(__name__)

_COLUMNS = ("number", "lines_stored", "lines_emitted", "results_stored", "results_emitted")


class Mark(NamedTuple):
    """All lines and results of an attempt up to these seqs are in the database."""

    lines: int
    results: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Result of a call."""

    marks: dict[AttemptKey, Mark]
    """Marks of each attempt with entries."""
    dropped: int
    """Number of entries without a valid place, of attempts that do not exist (deleted), and those `beyond`."""
    beyond: int = 0
    """Number of entries in values that go beyond the last seq that their ended attempt has emitted."""


def store_entries(run_id: int, lines: Sequence[bytes], results: Sequence[bytes]) -> Stored:
    """Store entries and blocks of one run, of any of its attempts, in any order.

    Never fails because of an entry: one that cannot be stored exactly becomes a line or result that shows it. Lines
    beyond `lines_max` count as stored, and one line says so. An attempt that has ended gets nothing beyond what it has
    emitted. Raises Django's database errors if it is unavailable. Rows are written in the order of their keys, and the
    attempts are locked last and briefly: two writers never deadlock, and no renewal of a lease waits for lines.
    """
    placed_lines, invalid_lines = rows.placed(lines)
    placed_results, invalid_results = rows.placed(results)
    with transaction.atomic():
        stored = _stored(run_id, {placed.span.attempt for placed in (*placed_lines, *placed_results)})
        line_part, result_part = (
            _Part(placed_lines, stored, Stream.LINES),
            _Part(placed_results, stored, Stream.RESULTS),
        )
        lines_max = runs_settings().lines_max
        write(rows.LINES, line_part.rows(lambda each: rows.line_rows(run_id, each.span, each.value, lines_max)))
        write(rows.RESULTS, result_part.rows(lambda each: rows.result_rows(run_id, each.value)))
        attempts = _lock(run_id, stored)
        for attempt in attempts:
            attempt.lines_stored = ranges.merge([*attempt.lines_stored, *line_part.of(attempt)])
            attempt.results_stored = ranges.merge([*attempt.results_stored, *result_part.of(attempt)])
            attempt.save(update_fields=("lines_stored", "results_stored"))
    orphaned = line_part.orphaned + result_part.orphaned
    if orphaned:
        logger.warning("Dropped %d entries of run %d: their attempts do not exist", orphaned, run_id)
    beyond = line_part.beyond + result_part.beyond
    if beyond:
        logger.warning("Dropped %d entries of run %d: their attempts ended without them", beyond, run_id)
    marks = {attempt.key: _mark(attempt) for attempt in attempts}
    return Stored(marks, invalid_lines + invalid_results + orphaned + beyond, beyond)


class _Part:
    """Lines or results of one call."""

    def __init__(self, placed: Sequence[Placed], stored: Mapping[int, Mapping[str, Any]], stream: Stream) -> None:
        self._taken: dict[int, Ranges] = {number: columns[f"{stream}_stored"] for number, columns in stored.items()}
        emitted = {number: columns[f"{stream}_emitted"] for number, columns in stored.items()}
        existing = [each for each in placed if each.span.attempt in stored]
        self._placed = [each for each in existing if _is_within(each.span, emitted[each.span.attempt])]
        self.orphaned = _size(placed) - _size(existing)
        self.beyond = _size(existing) - _size(self._placed)

    def rows(self, make: Callable[[Placed], list[Row]]) -> list[Row]:
        """Make the rows that are not stored yet. Those that another process stores at the same time are included."""
        made: list[Row] = []
        for each in self._placed:
            attempt, first, last = each.span
            overlaps = ranges.within(self._taken[attempt], first, last)
            if not overlaps:
                made += make(each)
            elif overlaps != [[first, last]]:
                made += [row for row in make(each) if not ranges.within(overlaps, row[2], row[2])]
            self._taken[attempt] = ranges.merge([*self._taken[attempt], [first, last]])
        return made

    def of(self, attempt: Attempt) -> Iterator[list[int]]:
        """Yield the ranges of the attempt's records."""
        return ([each.span.first, each.span.last] for each in self._placed if each.span.attempt == attempt.number)


def _size(placed: Iterable[Placed]) -> int:
    return sum(each.span.size for each in placed)


def _is_within(span: Span, emitted: int | None) -> bool:
    """Return whether an attempt has emitted a span. Unknown while it runs, and if its worker was lost."""
    return emitted is None or span.last <= emitted


def _stored(run_id: int, numbers: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return what is stored and emitted of each attempt that exists, by its number."""
    attempts = Attempt.objects.filter(run_id=run_id, number__in=numbers)
    return {columns["number"]: columns for columns in attempts.values(*_COLUMNS)}


def _lock(run_id: int, numbers: Collection[int]) -> list[Attempt]:
    """Lock the attempts until the transaction ends, so that concurrent writers do not overwrite ranges."""
    locked = Attempt.objects.select_for_update(no_key=True).filter(run_id=run_id, number__in=numbers)
    return list(locked.order_by("number").only("run_id", "number", "lines_stored", "results_stored"))


def _mark(attempt: Attempt) -> Mark:
    return Mark(ranges.high_water(attempt.lines_stored), ranges.high_water(attempt.results_stored))
