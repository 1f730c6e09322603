"""Flush: move entries of the runs' lists from Redis to the database.

Any number of flushers may work at once, and each may die between any two steps: entries stay in their list until they
are committed, storing them twice changes nothing, and only the holder of the lock trims a list, by the entries it read.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError, transaction

from runs.conf import runs_settings
from runs.database import is_lock_timeout, limit_lock_waits
from runs.exceptions import BufferCorrupt, BufferUnavailable
from runs.lines import blocks
from runs.lines.buffer import Stream, buffer
from runs.lines.store import Stored, store_entries

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Flush:
    """Flush of one run, step by step: lock → (read → store → trim → announce)* → unlock."""

    run_id: int
    token: str | None = None
    lines: list[bytes] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    stored: Stored | None = None

    def lock(self) -> bool:
        self.token = buffer().lock(self.run_id)
        return self.token is not None

    def read(self) -> int:
        """Read the heads of the lists; return the number of records."""
        batch = runs_settings().flush_batch
        self.lines = buffer().head(self.run_id, Stream.LINES, batch)
        self.results = buffer().head(self.run_id, Stream.RESULTS, batch)
        return blocks.count(self.lines) + blocks.count(self.results)

    def store(self) -> None:
        lines = self._genuine(Stream.LINES, self.lines)
        results = self._genuine(Stream.RESULTS, self.results)
        with transaction.atomic():
            limit_lock_waits()
            self.stored = store_entries(self.run_id, lines, results)

    def trim(self) -> bool:
        """Remove the stored entries. False if another flusher has the lock, or Redis has changed since the read."""
        token = self.token or ""
        return all(
            buffer().trim(self.run_id, stream, token, entries)
            for stream, entries in ((Stream.LINES, self.lines), (Stream.RESULTS, self.results))
        )

    def announce(self) -> None:
        for key, mark in (self.stored.marks if self.stored else {}).items():
            buffer().announce_stored(key, mark.lines, mark.results)

    def unlock(self) -> None:
        buffer().unlock(self.run_id, self.token or "")

    def _genuine(self, stream: Stream, values: list[bytes]) -> list[bytes]:
        """Return the values that a supervisor has sent. Others are removed as well, and logged."""
        genuine = blocks.genuine(self.run_id, stream, values)
        if len(genuine) < len(values):
            logger.warning(
                "Run %d: removed %d %s from Redis that have no valid code. Either another program writes to Redis, or"
                " the processes of Athanor have different secret keys.",
                self.run_id,
                blocks.count(values) - blocks.count(genuine),
                stream,
            )
        return genuine


def flush_run(run_id: int, *, until: float | None = None) -> int:
    """Store the buffered entries of a run, in batches, until none is left or `time.monotonic()` passes `until`.

    Returns the number of removed entries; 0 immediately if another flusher has the lock. Raises BufferUnavailable and
    Django's database errors; earlier batches are stored then.
    """
    flush = Flush(run_id)
    if not flush.lock():
        return 0
    total = 0
    try:
        while count := flush.read():
            flush.store()
            total += count
            if not flush.trim():
                return total
            flush.announce()
            if until is not None and time.monotonic() >= until:
                return total
        buffer().clean(run_id)
    finally:
        flush.unlock()
    return total


@dataclass(slots=True)
class FlushReport:
    """Result of one round over all runs."""

    runs: int = 0
    entries: int = 0
    """Number of records that were removed from Redis."""
    failed: dict[int, str] = field(default_factory=dict)
    """Run → error. The next round tries again."""
    stopped: str = ""
    """Why the round ended early: the budget, or Redis or the database is unavailable."""


def flush_all(budget_s: float) -> FlushReport:
    """Flush every run with buffered entries, in random order, so that concurrent flushers and short budgets are fair.

    Takes at most `budget_s` and one batch. A failure of one run is logged and reported, and the others continue.
    """
    report = FlushReport()
    until = time.monotonic() + budget_s
    try:
        waiting = buffer().dirty()
        random.shuffle(waiting)
        for run_id in waiting:
            if time.monotonic() >= until:
                report.stopped = f"the budget of {budget_s:g} s is used up"
                break
            _flush_one(run_id, until, report)
    except (BufferUnavailable, OperationalError, InterfaceError) as error:
        report.stopped = str(error)
        logger.warning("Stopped this flush: %s", error)
    return report


def _flush_one(run_id: int, until: float, report: FlushReport) -> None:
    try:
        entries = flush_run(run_id, until=until)
    except BufferCorrupt as error:
        report.failed[run_id] = str(error)
        buffer().repair(run_id)
    except (BufferUnavailable, OperationalError, InterfaceError) as error:
        if not is_lock_timeout(error):
            raise
        logger.warning("Run %d: the flush waits for a lock of the database", run_id)
        report.failed[run_id] = str(error)
    except Exception as error:  # an error of one run must not stop the others
        logger.exception("Cannot flush run %d", run_id)
        report.failed[run_id] = str(error)
    else:
        report.runs += bool(entries)
        report.entries += entries
