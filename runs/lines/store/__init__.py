"""Storage of lines and results: each once, under its key (run, attempt, seq).

Storing the same entries again changes nothing, from any number of processes at once. A call is one transaction: it
stores the rows and the ranges of the attempts, or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from django.db import transaction

from runs.conf import runs_settings
from runs.lines import ranges
from runs.lines.records import Line, ResultRecord, decode_line, decode_result
from runs.lines.store import rows
from runs.lines.store.writing import write
from runs.models import Attempt
from runs.states import AttemptKey

logger = logging.getLogger(__name__)

Record = TypeVar("Record", Line, ResultRecord)


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
    """Number of entries of runs or attempts that do not exist (deleted), and of invalid entries."""


def store_entries(run_id: int, lines: Sequence[bytes], results: Sequence[bytes]) -> Stored:
    """Store entries of one run, of any of its attempts, in any order.

    Never fails because of an entry: one that cannot be stored exactly becomes a line or result that shows it. Lines
    beyond `lines_max` count as stored, and one line says so. Raises Django's database errors if it is unavailable. Rows
    are written in the order of their keys, and the attempts are locked last and briefly: two writers never
    deadlock, and no renewal of a lease waits for lines.
    """
    decoded_lines, invalid_lines = rows.read(lines, decode_line)
    decoded_results, invalid_results = rows.read(results, decode_result)
    with transaction.atomic():
        numbers = {line.attempt for line in decoded_lines} | {result.attempt for result in decoded_results}
        existing = _existing(run_id, numbers)
        own_lines = _in_order(line for line in decoded_lines if line.attempt in existing)
        own_results = _in_order(result for result in decoded_results if result.attempt in existing)
        write(rows.LINES, rows.line_rows(run_id, own_lines, runs_settings().lines_max))
        write(rows.RESULTS, rows.result_rows(run_id, own_results))
        attempts = _lock(run_id, existing)
        for attempt in attempts:
            attempt.lines_stored = ranges.add(attempt.lines_stored, _seqs(own_lines, attempt))
            attempt.results_stored = ranges.add(attempt.results_stored, _seqs(own_results, attempt))
            attempt.save(update_fields=("lines_stored", "results_stored"))
    orphaned = len(decoded_lines) + len(decoded_results) - len(own_lines) - len(own_results)
    if orphaned:
        logger.warning("Dropped %d entries of run %d: their attempts do not exist", orphaned, run_id)
    return Stored({attempt.key: _mark(attempt) for attempt in attempts}, invalid_lines + invalid_results + orphaned)


def _existing(run_id: int, numbers: Collection[int]) -> set[int]:
    """Return the numbers of the attempts that exist."""
    return set(Attempt.objects.filter(run_id=run_id, number__in=numbers).values_list("number", flat=True))


def _in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.attempt, record.seq))


def _lock(run_id: int, numbers: Collection[int]) -> list[Attempt]:
    """Lock the attempts until the transaction ends, so that concurrent writers do not overwrite ranges."""
    locked = Attempt.objects.select_for_update(no_key=True).filter(run_id=run_id, number__in=numbers)
    return list(locked.order_by("number").only("run_id", "number", "lines_stored", "results_stored"))


def _seqs(records: Sequence[Line] | Sequence[ResultRecord], attempt: Attempt) -> Iterable[int]:
    return (record.seq for record in records if record.attempt == attempt.number)


def _mark(attempt: Attempt) -> Mark:
    return Mark(ranges.high_water(attempt.lines_stored), ranges.high_water(attempt.results_stored))
