"""The life of one attempt, as a pipeline: claim → spawn → watch → map the outcome → drain → finish.

What is promised: the run's end is written once, by a guarded UPDATE, after every process of the child is gone and
everything that it said is in the database. After a crash of this process at any point the run is found by its lease;
what was said by then is in Redis or the database but for what the pipe and the window held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections
from django.utils import timezone

from runs import store, transitions
from runs.buffer import Stream
from runs.conf import RunsSettings
from runs.exceptions import BufferUnavailable, SpawnFailed
from runs.models import Attempt, Checkpoint
from runs.supervisor import certificate
from runs.supervisor.children import ChildSpec, Exit
from runs.supervisor.events import Event, Exited, Inbox, Measured
from runs.supervisor.outcome import Observation, Verdict, verdict
from runs.supervisor.resources import Usage
from runs.supervisor.sender import Sender
from runs.supervisor.watch import Watch
from runs.supervisor.window import Window
from runs.transitions import Facts

if TYPE_CHECKING:
    from runs.supervisor.runtime import Runtime

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""Between two tries to write the end while the database is away."""


class Supervised(TypedDict):
    """What the Celery task returns: which attempt it was, and how that ended."""

    run: int
    attempt: int
    end: str
    """A status, or "released" / "lost" for an attempt that was handed back, or "superseded" if another was faster."""
    failure_kind: str


@dataclass(slots=True)
class Spent:
    """What the child used."""

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None


def supervise_next(runtime: Runtime, queues: Sequence[str], task_id: str) -> Supervised | None:
    """Claim the next due run of `queues` and see it through to its end; None if there is none. Blocks as long as it
    takes.
    """
    if runtime.stopping:
        return None
    attempt = transitions.claim(queues, runtime.worker, lease_s=runtime.conf.lease_s, task_id=task_id)
    if attempt is None:
        return None
    supervisor = Supervisor(runtime, attempt)
    runtime.add(supervisor)
    try:
        return supervisor.run()
    finally:
        runtime.remove(supervisor)


class Supervisor:
    """Owns one attempt. Other threads speak to it through `post` alone."""

    def __init__(self, runtime: Runtime, attempt: Attempt) -> None:
        conf = runtime.conf
        self.key = attempt.key
        self._runtime, self._run, self._conf = runtime, attempt.run, conf
        self._limits = attempt.run.effective_limits()
        self._inbox = Inbox()
        self._window = Window(
            self.key, max_entries=conf.window_max_lines, max_bytes=conf.window_max_bytes, tail=conf.end_lines
        )
        self._writes = runtime.recorder.open(self.key, self._acknowledge)
        self.pid: int | None = None

    def post(self, event: Event) -> None:
        """Tell the watch loop something; never blocks."""
        self._inbox.post(event)

    def measured(self, usage: Usage) -> None:
        self.post(Measured(usage))

    def run(self) -> Supervised:
        """See the attempt through to its end."""
        sender = Sender(
            self._window, self._runtime.buffer, batch=self._conf.push_batch, retry_s=self._conf.push_retry_s
        )
        sender.start()
        try:
            observation, spent = self._observe()
            found = verdict(observation)
            self._drain()
            written = self._finish(found, observation, spent)
        finally:
            sender.end()
            self._inbox.close()
            self._runtime.recorder.close(self.key)
        self._forget_buffer(written)
        return {
            "run": self.key.run_id,
            "attempt": self.key.number,
            "end": _end_word(found) if written else "superseded",
            "failure_kind": found.ending.failure_kind or "",
        }

    # spawn, watch

    def _observe(self) -> tuple[Observation, Spent]:
        try:
            if not self._runtime.heartbeat.ensure_fresh():
                raise SpawnFailed("The database went away between the claim and the start.")
            child = self._runtime.forkserver.spawn(self._spec(), self._exited)
        except SpawnFailed as error:
            return Observation(None, {"outcome": "start", "error": str(error)}, started=False), Spent()
        self.pid = child.pid
        self._child = child
        self._writes.mark(child_pid=child.pid)
        self._runtime.tell_at_start(self)
        watch = Watch(child, self._limits, self._conf, self._inbox, self._window, self._writes)
        try:
            observation = watch.run(self._drain)
        except BaseException:
            logger.exception("Run %s: its supervisor failed; its child is killed", self.key)
            child.kill()
            raise
        finally:
            child.close()
        return observation, Spent(watch.peak_memory_bytes, watch.cpu_seconds)

    def _spec(self) -> ChildSpec:
        run = self._run
        checkpoint = Checkpoint.objects.filter(run=run).values_list("state", flat=True).first()
        return ChildSpec(
            key=self.key,
            experiment=run.experiment,
            configuration=run.configuration,
            limits=run.limits,
            seed=run.seed,
            slot=run.slot.isoformat() if run.slot else None,
            folder=run_folder(self._conf, run.pk),
            restored=checkpoint,
            line_max_bytes=self._conf.line_max_bytes,
            record_max_bytes=self._conf.record_max_bytes,
            checkpoint_max_bytes=self._conf.checkpoint_max_bytes,
        )

    @property
    def _stacks_file(self) -> Path:
        return run_folder(self._conf, self.key.run_id) / f"stacks-{self.key.number}.txt"

    def _exited(self, exit_: Exit) -> None:
        self.post(Exited(exit_))

    def _acknowledge(self, checkpoint: int) -> None:
        self._child.send({"do": "ack", "id": checkpoint})

    # drain, finish

    def _drain(self) -> None:
        """Store what the window holds straight into the database, and what the recorder holds."""
        self._persist("its last lines", self._store_window)
        self._persist("its last records", self._writes.write)

    def _store_window(self) -> None:
        batch = self._conf.flush_batch
        while True:
            lines = self._window.after(Stream.LINES, 0, batch)
            results = self._window.after(Stream.RESULTS, 0, batch)
            if not lines and not results:
                return
            store.store_entries(self.key.run_id, lines, results)
            for stream, entries in ((Stream.LINES, lines), (Stream.RESULTS, results)):
                self._window.forget(stream, self._window.stored(stream) + len(entries))

    def _finish(self, found: Verdict, observation: Observation, spent: Spent) -> bool:
        facts = Facts(
            {
                "certificate": certificate.of(found, observation, self._window.tail, self._stacks_file),
                "peak_memory_bytes": spent.peak_memory_bytes,
                "cpu_seconds": spent.cpu_seconds,
                "lines_emitted": self._window.emitted(Stream.LINES),
                "results_emitted": self._window.emitted(Stream.RESULTS),
            }
        )
        return self._persist("its end", lambda: self._write_end(found, facts))

    def _write_end(self, found: Verdict, facts: Facts) -> bool:
        ending = found.ending
        if found.handed_back is None:
            return transitions.finish(self.key, ending, facts)
        not_before = timezone.now() + timedelta(seconds=found.retry_after_s) if found.retry_after_s else None
        return transitions.hand_back(self.key, found.handed_back, ending, facts, not_before=not_before)

    def _persist(self, what: str, write: Callable[[], T]) -> T:
        """Do `write`, again and again while the database is away: what has happened is not lost for that."""
        while True:
            close_old_connections()
            try:
                return write()
            except (OperationalError, InterfaceError) as error:
                logger.warning("Run %s: %s waits for the database: %s", self.key, what, str(error).strip())
                if self._runtime.hurrying.wait(RETRY_S):
                    raise

    def _forget_buffer(self, written: bool) -> None:
        """Everything is stored: what Redis still has of this run is not needed. If it cannot be told, the flush finds
        out.
        """
        if not written:
            return
        try:
            self._runtime.buffer.discard(self.key.run_id)
        except BufferUnavailable as error:
            logger.info("Run %s: its buffer is left to the flush: %s", self.key, error)


def _end_word(found: Verdict) -> str:
    return str(found.handed_back or found.ending.status)


def run_folder(conf: RunsSettings, run_id: int) -> Path:
    """Where a run keeps its files: its work folder and its artifacts."""
    return conf.var / "runs" / str(run_id)
