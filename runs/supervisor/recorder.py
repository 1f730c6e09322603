"""What an attempt writes to the database while it runs: progress, times, checkpoints, artifacts, provenance.

Each write carries the attempt's number and changes nothing once the attempt is closed or taken over. A write that fails
because the database is away stays pending and is tried again; nothing of the watch loop waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections, transaction
from django.db.models.functions import Now

from runs import transitions
from runs.database import limit_lock_waits
from runs.inspections import Inspection
from runs.lines.records import ArtifactRecord, CheckpointRecord, Hello, Progress, plain
from runs.lines.store.writing import REFUSALS
from runs.models import Artifact, Attempt, Checkpoint, Run
from runs.states import AttemptKey
from runs.supervisor import provenance
from runs.supervisor.moments import Moment, in_database

logger = logging.getLogger(__name__)

CHECKPOINT = "the checkpoint"
PENDING_MAX = 1000
"""Artifacts of one attempt that may wait for the database; beyond it the child's pipe is not read."""


def _ignore(*_: object) -> None:
    """Answer nobody."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the recorder tells an attempt's supervisor; called by whichever thread writes."""

    stored: Callable[[int], None] = _ignore
    """This checkpoint is in the database."""
    refused: Callable[[int, str], None] = _ignore
    """This checkpoint cannot be kept, and why."""
    note: Callable[[str], None] = _ignore
    """Something for the run's lines."""
    hurry: Callable[[], None] = _ignore
    """Have the recorder write soon."""
    store_output: Callable[[], None] = _ignore
    """Called within the transaction of a checkpoint: stores what was said before it. An attempt that goes on from there
    does not say it again."""


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
        """Both together, where only the newest progress and checkpoint count."""
        return Pending(
            {**later.columns, **self.columns},
            later.progress or self.progress,
            later.checkpoint or self.checkpoint,
            self.artifacts + later.artifacts,
        )


class RunRecords:
    """Pending writes of one attempt. Thread-safe; `write` is done by one thread at a time.

    A write that fails because the database is away waits for the next try. One that the database refuses is dropped,
    alone, and a line says so: it would be refused for ever.
    """

    def __init__(self, key: AttemptKey, callbacks: Callbacks) -> None:
        self.key = key
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._pending = Pending()
        self._last_current: float | None = None
        self._asking: threading.Thread | None = None  # git, for the provenance

    def mark(self, **columns: Any) -> None:
        """Set columns of the attempt; the first time that a column is given counts. A Moment is written as a time."""
        with self._lock:
            self._pending.columns = {**columns, **self._pending.columns}

    def inspected(self, inspection: Inspection) -> None:
        """Keep the newest inspection, soon: somebody waits."""
        with self._lock:
            self._pending.columns |= {"inspection": inspection, "inspection_asked_at": None}
        self._callbacks.hurry()

    def progress(self, progress: Progress) -> None:
        """Keep the newest progress. The first one, and one below the last, begin a new measurement of the pace."""
        with self._lock:
            if self._last_current is None or progress.current < self._last_current:
                self._pending.columns |= {"progress_from": progress.current, "progress_from_at": Moment.now()}
            self._last_current = progress.current
            self._pending.progress = progress

    def checkpoint(self, record: CheckpointRecord) -> None:
        """Keep the last one soon; at once if the experiment waits for it."""
        with self._lock:
            self._pending.checkpoint = record
        if record["sync"]:
            self._callbacks.hurry()

    def refuse_checkpoint(self, number: int, why: str) -> None:
        """Tell the experiment, which may wait for it, that a checkpoint is not kept."""
        self._callbacks.refused(number, why)

    def artifact(self, record: ArtifactRecord) -> None:
        with self._lock:
            self._pending.artifacts.append(record)

    def provenance(self, hello: Hello) -> None:
        """Note what the child said of its code. Git is asked in a thread of its own: it may take seconds, and nobody's
        checkpoint may wait for it.
        """
        asking = threading.Thread(target=self._complete, args=(hello,), name=f"git-{self.key}", daemon=True)
        try:
            asking.start()
        except RuntimeError as error:  # no more threads: the run does not depend on it
            logger.warning("Run %s: git is not asked about its code: %s", self.key, error)
        else:
            self._asking = asking

    def _complete(self, hello: Hello) -> None:
        try:
            known = provenance.complete(hello, Path(str(hello.get("source_file") or "")))
        except Exception:
            logger.exception("Run %s: where its code is from cannot be told", self.key)
        else:
            self.mark(provenance=known)

    @property
    def has_room(self) -> bool:
        with self._lock:
            return len(self._pending.artifacts) < PENDING_MAX

    @property
    def pending(self) -> bool:
        with self._lock:
            return bool(self._pending)

    def write(self) -> None:
        """Write what is pending, in one transaction. Raises DatabaseError if the database is away; then all of it is
        pending again.
        """
        with self._writing:
            with self._lock:
                taken, self._pending = self._pending, Pending()
            try:
                stored, refused = self._store_what_is_taken(taken)
            except BaseException:
                with self._lock:
                    self._pending = taken.before(self._pending)
                raise
            self._answer(taken, refused, stored=stored)

    def wait_for_provenance(self) -> None:
        """Wait for git's answer, as long as that may take. Call it before the last write of an attempt."""
        if self._asking is not None:
            self._asking.join()

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

    def _store_what_is_taken(self, taken: Pending) -> tuple[bool, dict[str, str]]:
        """Store all at once, or, if the database refuses something, each alone."""
        try:
            return self._store(taken), {}
        except REFUSALS:
            return self._store_one_by_one(taken)

    def _store(self, taken: Pending) -> bool:
        """Store everything, or nothing: False if the attempt is closed. Raises one of REFUSALS if any part is refused.

        The run's row is locked before the attempt's, as in every transaction. The attempt's row is locked last, so that
        no renewal of its lease waits for anything that is written here.
        """
        if not self._is_open():
            return self._dropped()
        with transaction.atomic():
            limit_lock_waits()
            for _, write in self._parts(taken):
                write()
            if transitions.is_open(self.key):
                self._mark(taken.columns)
                return True
            transaction.set_rollback(True)
        return self._dropped()

    def _store_one_by_one(self, taken: Pending) -> tuple[bool, dict[str, str]]:
        """The same, but what the database refuses is left out; part → why."""
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
        """Check without a lock, to spare the work in vain."""
        return Attempt.objects.open(self.key).exists()

    def _dropped(self) -> bool:
        logger.warning("Attempt %s is no longer open: its late writes are dropped", self.key)
        return False

    def _parts(self, taken: Pending) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each write but that of the columns, with its name for people."""
        if taken.progress is not None:
            yield "the progress", partial(_store_progress, self.key, taken.progress)
        if taken.checkpoint is not None:
            yield CHECKPOINT, partial(self._store_checkpoint, taken.checkpoint)
        for artifact in taken.artifacts:
            yield f"artifact {artifact['name']!r}", partial(_store_artifact, self.key, artifact)

    def _mark(self, columns: dict[str, Any]) -> None:
        if columns:
            transitions.mark(self.key, **in_database(columns))

    def _store_checkpoint(self, record: CheckpointRecord) -> None:
        self._callbacks.store_output()
        _store_checkpoint(self.key, record)


def _try(part: str, write: Callable[[], object], refused: dict[str, str]) -> None:
    try:
        with transaction.atomic():
            write()
    except REFUSALS as error:
        refused[part] = plain(str(error).strip())


def _store_progress(key: AttemptKey, progress: Progress) -> None:
    Run.objects.filter(pk=key.run_id, attempt=key.number).update(
        progress_current=progress.current,
        progress_total=progress.total,
        progress_message=progress.message[:500],
        progress_at=Now(),
    )


def _store_checkpoint(key: AttemptKey, record: CheckpointRecord) -> None:
    Checkpoint.objects.update_or_create(
        run_id=key.run_id,
        defaults={
            "attempt": key.number,
            "number": record["id"],
            "state": record["state"],
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

    def open(self, key: AttemptKey, callbacks: Callbacks) -> RunRecords:
        with self._lock:
            return self._all.setdefault(key, RunRecords(key, callbacks))

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
