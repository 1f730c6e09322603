"""What an attempt writes to the database while it runs: progress, times, checkpoints, artifacts, provenance.

Each write carries the attempt's number and changes nothing once the attempt is closed or taken over. A write that fails
because the database is away stays pending and is tried again; nothing of the watch loop waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections, transaction
from django.db.models.functions import Now

from runs import transitions
from runs.database import limit_lock_waits
from runs.inspections import Inspection
from runs.lines.records import ArtifactRecord, CheckpointRecord, Progress, without_nul
from runs.models import Artifact, Attempt, Checkpoint, Run
from runs.states import AttemptKey
from runs.supervisor import provenance
from runs.supervisor.moments import Moment, in_database

logger = logging.getLogger(__name__)

PENDING_MAX = 1000
"""Artifacts of one attempt that may wait for the database; beyond it the child's pipe is not read."""


class RunRecords:
    """Pending writes of one attempt. Thread-safe; `write` is done by one thread at a time.

    `store_said` is called within the transaction of a checkpoint, and stores what was said before it: an attempt that
    goes on from there does not say it again.
    """

    def __init__(
        self,
        key: AttemptKey,
        acknowledge: Callable[[int], None],
        hurry: Callable[[], None],
        store_said: Callable[[], None],
    ) -> None:
        self.key = key
        self._acknowledge, self._hurry, self._store_said = acknowledge, hurry, store_said
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._columns: dict[str, Any] = {}
        self._progress: Progress | None = None
        self._last_current: float | None = None
        self._checkpoint: CheckpointRecord | None = None
        self._artifacts: list[ArtifactRecord] = []
        self._asking: threading.Thread | None = None  # git, for the provenance

    def mark(self, **columns: Any) -> None:
        """Set columns of the attempt; the first time that a column is given counts. A Moment is written as a time."""
        with self._lock:
            self._columns = {**columns, **self._columns}

    def inspected(self, inspection: Inspection) -> None:
        """Keep the newest inspection, soon: somebody waits."""
        with self._lock:
            self._columns |= {"inspection": inspection, "inspection_asked_at": None}
        self._hurry()

    def progress(self, progress: Progress) -> None:
        """Keep the newest progress. The first one, and one below the last, begin a new measurement of the pace."""
        with self._lock:
            if self._last_current is None or progress.current < self._last_current:
                self._columns |= {"progress_from": progress.current, "progress_from_at": Moment.now()}
            self._last_current = progress.current
            self._progress = progress

    def checkpoint(self, record: CheckpointRecord) -> None:
        """Keep the last one soon; at once if the experiment waits for it."""
        with self._lock:
            self._checkpoint = record
        if record["sync"]:
            self._hurry()

    def artifact(self, record: ArtifactRecord) -> None:
        with self._lock:
            self._artifacts.append(record)

    def provenance(self, hello: dict[str, Any]) -> None:
        """Note what the child said of its code. Git is asked in a thread of its own: it may take seconds, and nobody's
        checkpoint may wait for it.
        """
        self._asking = threading.Thread(target=self._complete, args=(hello,), name=f"git-{self.key}", daemon=True)
        self._asking.start()

    def _complete(self, hello: dict[str, Any]) -> None:
        try:
            known = provenance.complete(hello, Path(str(hello.get("source_file") or "")))
        except Exception:
            logger.exception("Run %s: where its code is from cannot be told", self.key)
        else:
            self.mark(provenance=known)

    @property
    def has_room(self) -> bool:
        with self._lock:
            return len(self._artifacts) < PENDING_MAX

    @property
    def pending(self) -> bool:
        with self._lock:
            return bool(self._columns or self._progress or self._checkpoint or self._artifacts)

    def write(self) -> None:
        """Write what is pending, in one transaction. Raises DatabaseError, and then all of it is pending again."""
        with self._writing:
            with self._lock:
                taken = (self._columns, self._progress, self._checkpoint, self._artifacts)
                self._columns, self._progress, self._checkpoint, self._artifacts = {}, None, None, []
            try:
                stored = self._store(*taken)
            except BaseException:
                self._put_back(*taken)
                raise
            if stored and taken[2] is not None:
                self._acknowledge(taken[2]["id"])

    def write_last(self) -> None:
        """The last write of an attempt, with what git says; waits for that as long as git may take."""
        if self._asking is not None:
            self._asking.join()
        self.write()

    def _put_back(
        self,
        columns: dict[str, Any],
        progress: Progress | None,
        checkpoint: CheckpointRecord | None,
        artifacts: list[ArtifactRecord],
    ) -> None:
        with self._lock:
            self._columns = {**self._columns, **columns}
            self._progress = self._progress or progress
            self._checkpoint = self._checkpoint or checkpoint
            self._artifacts = artifacts + self._artifacts

    def _store(
        self,
        columns: dict[str, Any],
        progress: Progress | None,
        checkpoint: CheckpointRecord | None,
        artifacts: list[ArtifactRecord],
    ) -> bool:
        """Store everything, or nothing: False if the attempt is closed.

        The run's row is locked before the attempt's, as in every transaction. The attempt's row is locked last, so that
        no renewal of its lease waits for anything that is written here.
        """
        if not self._is_open():
            return self._dropped()
        with transaction.atomic():
            limit_lock_waits()
            if progress is not None:
                _store_progress(self.key, progress)
            if checkpoint is not None:
                self._store_said()
                _store_checkpoint(self.key, checkpoint)
            for artifact in artifacts:
                _store_artifact(self.key, artifact)
            if transitions.is_open(self.key):
                return transitions.mark(self.key, **in_database(columns)) if columns else True
            transaction.set_rollback(True)
        return self._dropped()

    def _is_open(self) -> bool:
        """Check without a lock, to spare the work in vain."""
        return Attempt.objects.filter(run_id=self.key.run_id, number=self.key.number, finished_at=None).exists()

    def _dropped(self) -> bool:
        logger.warning("Attempt %s is no longer open: its late writes are dropped", self.key)
        return False


def _store_progress(key: AttemptKey, progress: Progress) -> None:
    Run.objects.filter(pk=key.run_id, attempt=key.number).update(
        progress_current=progress.current,
        progress_total=progress.total,
        progress_message=without_nul(progress.message)[:500],
        progress_at=Now(),
    )


def _store_checkpoint(key: AttemptKey, record: CheckpointRecord) -> None:
    Checkpoint.objects.update_or_create(
        run_id=key.run_id,
        defaults={
            "attempt": key.number,
            "number": record["id"],
            "state": without_nul(record["state"]),
            "saved_at": Now(),
        },
    )


def _store_artifact(key: AttemptKey, record: ArtifactRecord) -> None:
    Artifact.objects.update_or_create(
        run_id=key.run_id,
        attempt=key.number,
        name=record["name"],
        defaults={
            "path": record["path"],
            "content_type": record["content_type"],
            "size_bytes": record["size_bytes"],
            "sha256": record["sha256"],
        },
    )


class Recorder(threading.Thread):
    """One thread per worker that writes what is pending of all its attempts, every `every_s`."""

    def __init__(self, *, every_s: float) -> None:
        super().__init__(name="recorder", daemon=True)
        self._every_s = every_s
        self._all: dict[AttemptKey, RunRecords] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = threading.Event()

    def open(self, key: AttemptKey, acknowledge: Callable[[int], None], store_said: Callable[[], None]) -> RunRecords:
        with self._lock:
            return self._all.setdefault(key, RunRecords(key, acknowledge, self.hurry, store_said))

    def close(self, key: AttemptKey) -> None:
        """Forget an attempt whose last write is done by its own supervisor."""
        with self._lock:
            self._all.pop(key, None)

    def hurry(self) -> None:
        """Write soon rather than at the next tick: somebody waits."""
        self._wake.set()

    def run(self) -> None:
        while not self._ending.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            self.run_once()

    def run_once(self) -> None:
        """Write everything that is pending; one attempt's trouble is not another's."""
        with self._lock:
            attempts = list(self._all.values())
        close_old_connections()
        for attempt in attempts:
            if attempt.pending:
                try:
                    attempt.write()
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("Run %s: its progress waits for the database: %s", attempt.key, str(error).strip())
                except Exception:  # whatever it is, it is one attempt's: the others' checkpoints must go on
                    logger.exception("Run %s: its progress cannot be written this time", attempt.key)

    def end(self) -> None:
        self._ending.set()
        self._wake.set()
