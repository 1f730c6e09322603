"""Writes of an attempt to the database while it runs: progress, times, checkpoints, artifacts, provenance.

Each write carries the attempt's number, and changes nothing if the attempt is closed or was taken over. A write that
fails because the database is unavailable stays pending and is tried again. The watch loop never waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections, transaction

from runs import transitions
from runs.database import limit_lock_waits
from runs.inspections import Inspection
from runs.lines.records import ArtifactRecord, CheckpointRecord, Hello, Progress, plain
from runs.lines.store.writing import REFUSALS
from runs.models import Attempt
from runs.states import AttemptKey
from runs.supervisor import provenance, rows
from runs.supervisor.timestamps import Timestamp, in_database

logger = logging.getLogger(__name__)

CHECKPOINT = "the checkpoint"
PENDING_MAX = 1000
"""Number of artifacts of an attempt that may wait for the database. Above it, the child's pipe is not read."""


def _ignore(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Callbacks of an attempt's supervisor. Called in the thread that writes."""

    stored: Callable[[int], None] = _ignore
    """A checkpoint is in the database: its number."""
    refused: Callable[[int, str], None] = _ignore
    """A checkpoint cannot be stored: its number, and why."""
    note: Callable[[str], None] = _ignore
    """Add a message to the run's log."""
    hurry: Callable[[], None] = _ignore
    """Make the recorder write soon."""
    store_output: Callable[[], None] = _ignore
    """Store the lines and results before a checkpoint, in its transaction: the next attempt does not repeat them."""


@dataclass(slots=True)
class Pending:
    """Writes of one attempt that wait for the database."""

    columns: dict[str, Any] = field(default_factory=dict)
    progress: Progress | None = None
    checkpoint: CheckpointRecord | None = None
    artifacts: list[ArtifactRecord] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.columns or self.progress or self.checkpoint or self.artifacts)

    def before(self, later: Pending) -> Pending:
        """Merge with later writes. Only the newest progress and checkpoint are kept."""
        return Pending(
            {**later.columns, **self.columns},
            later.progress or self.progress,
            later.checkpoint or self.checkpoint,
            self.artifacts + later.artifacts,
        )


class RunRecords:
    """Pending writes of one attempt. Thread-safe; one thread at a time executes `write`.

    A write that fails because the database is unavailable is tried again. A value that the database refuses is dropped,
    alone, and a log line says so: each further try would fail too.
    """

    def __init__(self, key: AttemptKey, callbacks: Callbacks) -> None:
        self.key = key
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._pending = Pending()
        self._last_current: float | None = None
        self._git_query: threading.Thread | None = None

    def mark(self, **columns: Any) -> None:
        """Set columns of the attempt. The first value of a column is kept. Timestamps are written as times."""
        with self._lock:
            self._pending.columns = {**columns, **self._pending.columns}

    def inspected(self, inspection: Inspection) -> None:
        """Store an inspection soon: a user waits for it."""
        with self._lock:
            self._pending.columns |= {"inspection": inspection, "inspection_asked_at": None}
        self._callbacks.hurry()

    def progress(self, progress: Progress) -> None:
        """Store the newest progress. The first one, and one below the last, start a new measurement of the pace."""
        with self._lock:
            if self._last_current is None or progress.current < self._last_current:
                self._pending.columns |= {"progress_from": progress.current, "progress_from_at": Timestamp.now()}
            self._last_current = progress.current
            self._pending.progress = progress

    def checkpoint(self, record: CheckpointRecord) -> None:
        """Store the newest checkpoint; immediately if the experiment waits for it."""
        with self._lock:
            self._pending.checkpoint = record
        if record["sync"]:
            self._callbacks.hurry()

    def refuse_checkpoint(self, number: int, why: str) -> None:
        """Notify the experiment, which may wait for it, that a checkpoint is not stored."""
        self._callbacks.refused(number, why)

    def artifact(self, record: ArtifactRecord) -> None:
        with self._lock:
            self._pending.artifacts.append(record)

    def provenance(self, hello: Hello) -> None:
        """Record the provenance of the child's code. Git runs in its own thread: no checkpoint may wait for it.

        Runs that start in quick succession share a query.
        """
        recent = provenance.recent(hello, _source_file(hello))
        if recent is not None:
            self.mark(provenance=recent)
            return
        query = threading.Thread(target=self._complete, args=(hello,), name=f"git-{self.key}", daemon=True)
        try:
            query.start()
        except RuntimeError as error:  # no more threads: the run does not depend on it
            logger.warning("Run %s: cannot query git for its code: %s", self.key, error)
        else:
            self._git_query = query

    def _complete(self, hello: Hello) -> None:
        try:
            complete = provenance.complete(hello, _source_file(hello))
        except Exception:
            logger.exception("Run %s: cannot determine the provenance of its code", self.key)
        else:
            self.mark(provenance=complete)

    @property
    def has_room(self) -> bool:
        with self._lock:
            return len(self._pending.artifacts) < PENDING_MAX

    @property
    def pending(self) -> bool:
        with self._lock:
            return bool(self._pending)

    @property
    def needs_write(self) -> bool:
        """True if something other than columns of the attempt is pending."""
        with self._lock:
            return bool(replace(self._pending, columns={}))

    def take_marks(self) -> dict[str, Any]:
        """Remove and return the pending columns, which are written with the end. Waits for a write under way."""
        with self._writing, self._lock:
            columns, self._pending.columns = self._pending.columns, {}
            return columns

    def write(self) -> None:
        """Write everything that is pending, in one transaction.

        Raises DatabaseError if the database is unavailable; then everything stays pending.
        """
        with self._writing:
            with self._lock:
                taken, self._pending = self._pending, Pending()
            try:
                stored, refused = self._store_or_refuse(taken)
            except BaseException:
                with self._lock:
                    self._pending = taken.before(self._pending)
                raise
            self._answer(taken, refused, stored=stored)

    def wait_for_provenance(self) -> None:
        """Wait for the query of git. Call it before the last write of an attempt."""
        if self._git_query is not None:
            self._git_query.join()

    def _answer(self, taken: Pending, refused: dict[str, str], *, stored: bool) -> None:
        for what, why in refused.items():
            logger.warning("Run %s: the database refuses %s: %s", self.key, what, why)
            self._callbacks.note(f"The database refuses {what}, which is dropped: {why}")
        if taken.checkpoint is None:
            return
        number = taken.checkpoint["id"]
        if CHECKPOINT in refused:
            self._callbacks.refused(number, f"The checkpoint could not be stored: {refused[CHECKPOINT]}")
        elif stored:
            self._callbacks.stored(number)

    def _store_or_refuse(self, taken: Pending) -> tuple[bool, dict[str, str]]:
        """Store everything at once or, if the database refuses a value, each part alone."""
        try:
            return self._store(taken), {}
        except REFUSALS:
            return self._store_one_by_one(taken)

    def _store(self, taken: Pending) -> bool:
        """Store everything, or nothing: False if the attempt is closed. Raises one of REFUSALS if any part is refused.

        The run's row is locked before the attempt's, as in every transaction. The attempt's row is locked last, so that
        no renewal of its lease waits for these writes.
        """
        parts = list(self._parts(taken))
        if parts and not self._is_open():
            return self._dropped()
        with transaction.atomic():
            limit_lock_waits()
            for _, write in parts:
                write()
            if self._mark(taken.columns) if taken.columns else transitions.is_open(self.key):
                return True
            transaction.set_rollback(True)
        return self._dropped()

    def _store_one_by_one(self, taken: Pending) -> tuple[bool, dict[str, str]]:
        """Store each part alone. Return whether the attempt is open, and the refused parts → why."""
        refused: dict[str, str] = {}
        if not self._is_open():
            return self._dropped(), refused
        with transaction.atomic():
            limit_lock_waits()
            for part, write in self._parts(taken):
                _try(part, write, refused)
            if transitions.is_open(self.key):
                for name, value in taken.columns.items():
                    _try(name, partial(self._mark, {name: value}), refused)
                return True, refused
            transaction.set_rollback(True)
        return self._dropped(), {}

    def _is_open(self) -> bool:
        """Check without a lock, to avoid writes that would be rolled back."""
        return Attempt.objects.open(self.key).exists()

    def _dropped(self) -> bool:
        logger.warning("Attempt %s is no longer open: dropping its late writes", self.key)
        return False

    def _parts(self, taken: Pending) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield each write except that of the columns, with its name for messages."""
        if taken.progress is not None:
            yield "the progress", partial(rows.store_progress, self.key, taken.progress)
        if taken.checkpoint is not None:
            yield CHECKPOINT, partial(self._store_checkpoint, taken.checkpoint)
        for artifact in taken.artifacts:
            yield f"artifact {artifact['name']!r}", partial(rows.store_artifact, self.key, artifact)

    def _mark(self, columns: dict[str, Any]) -> bool:
        return transitions.mark(self.key, **in_database(columns))

    def _store_checkpoint(self, record: CheckpointRecord) -> None:
        self._callbacks.store_output()
        rows.store_checkpoint(self.key, record)


def _source_file(hello: Hello) -> Path:
    return Path(str(hello.get("source_file") or ""))


def _try(part: str, write: Callable[[], object], refused: dict[str, str]) -> None:
    try:
        with transaction.atomic():
            write()
    except REFUSALS as error:
        refused[part] = plain(str(error).strip())


class Recorder(threading.Thread):
    """Thread of a worker that writes the pending writes of all its attempts, every `every_s`."""

    def __init__(self, *, every_s: float) -> None:
        super().__init__(name="recorder", daemon=True)
        self._every_s = every_s
        self._all: dict[AttemptKey, RunRecords] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = threading.Event()

    def open(self, key: AttemptKey, callbacks: Callbacks) -> RunRecords:
        with self._lock:
            return self._all.setdefault(key, RunRecords(key, callbacks))

    def close(self, key: AttemptKey) -> None:
        """Unregister an attempt. Its own supervisor does the last write."""
        with self._lock:
            self._all.pop(key, None)

    def hurry(self) -> None:
        """Write soon rather than after `every_s`."""
        self._wake.set()

    def run(self) -> None:
        while not self._ending.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            self.run_once()

    def run_once(self) -> None:
        """Write everything that is pending. A failure of one attempt does not affect the others."""
        with self._lock:
            attempts = list(self._all.values())
        close_old_connections()
        for attempt in attempts:
            if attempt.pending:
                try:
                    attempt.write()
                except (DatabaseError, InterfaceError) as error:
                    logger.warning(
                        "Run %s: its progress waits for the database: %s",
                        attempt.key,
                        str(error).strip(),
                    )
                except Exception:  # the other attempts must be written
                    logger.exception("Run %s: cannot write its progress; trying again", attempt.key)

    def end(self) -> None:
        self._ending.set()
        self._wake.set()
