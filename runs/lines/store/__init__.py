"""What runs wrote, into the database: each line and result once, under its address (run, attempt, seq).

Storing the same entries again changes nothing, from any number of processes at once. All of a call is in the database
when it returns, rows and what the attempt knows to be stored; nothing of it is after a crash.
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
    """All of an attempt up to these seqs is in the database."""

    lines: int
    results: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What a call has stored."""

    marks: dict[AttemptKey, Mark]
    """Of each attempt that had entries."""
    dropped: int
    """Entries of runs or attempts that do not exist (deleted), and entries that are none."""


def store_entries(run_id: int, lines: Sequence[bytes], results: Sequence[bytes]) -> Stored:
    """Store entries of one run, of any of its attempts, in any order; blocks for as long as the database takes.

    Never fails for what an entry holds: what cannot be stored as it is becomes a line or result that shows it. Lines
    beyond `lines_max` count as stored, and one line says so. Raises django's database errors if the database is away.
    Rows are written in the order of their keys, and the attempts are locked last and briefly: two writers never
    deadlock, and no renewal of a lease waits for lines.
    """
    found_lines, unplaced_lines = rows.read(lines, decode_line)
    found_results, unplaced_results = rows.read(results, decode_result)
    with transaction.atomic():
        numbers = {line.attempt for line in found_lines} | {result.attempt for result in found_results}
        existing = _existing(run_id, numbers)
        known_lines = _in_order(line for line in found_lines if line.attempt in existing)
        known_results = _in_order(result for result in found_results if result.attempt in existing)
        write(rows.LINES, rows.line_rows(run_id, known_lines, runs_settings().lines_max))
        write(rows.RESULTS, rows.result_rows(run_id, known_results))
        attempts = _lock(run_id, existing)
        for attempt in attempts:
            attempt.lines_stored = ranges.add(attempt.lines_stored, _seqs(known_lines, attempt))
            attempt.results_stored = ranges.add(attempt.results_stored, _seqs(known_results, attempt))
            attempt.save(update_fields=("lines_stored", "results_stored"))
    orphans = len(found_lines) + len(found_results) - len(known_lines) - len(known_results)
    if orphans:
        logger.warning("%d entries of run %d belong to no attempt that there is; dropped", orphans, run_id)
    return Stored({attempt.key: _mark(attempt) for attempt in attempts}, unplaced_lines + unplaced_results + orphans)


def _existing(run_id: int, numbers: Collection[int]) -> set[int]:
    """Those of the attempts that the database has."""
    return set(Attempt.objects.filter(run_id=run_id, number__in=numbers).values_list("number", flat=True))


def _in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.attempt, record.seq))


def _lock(run_id: int, numbers: Collection[int]) -> list[Attempt]:
    """Lock the attempts until the transaction's end, so that two writers keep each other's ranges."""
    held = Attempt.objects.select_for_update(no_key=True).filter(run_id=run_id, number__in=numbers)
    return list(held.order_by("number").only("run_id", "number", "lines_stored", "results_stored"))


def _seqs(records: Sequence[Line] | Sequence[ResultRecord], attempt: Attempt) -> Iterable[int]:
    return (record.seq for record in records if record.attempt == attempt.number)


def _mark(attempt: Attempt) -> Mark:
    return Mark(ranges.high_water(attempt.lines_stored), ranges.high_water(attempt.results_stored))
