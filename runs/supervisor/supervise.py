"""The life of one attempt, as a pipeline: claim → spawn → watch → map the outcome → drain → finish.

What is promised: the run's end is written once, by a guarded UPDATE, after every process of the child is gone and
everything that it said is in the database. After a crash of this process at any point the run is found by its lease;
what was said by then is in Redis or the database but for what the pipe and the window held.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypedDict, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, transaction

from runs import transitions
from runs.database import close_connection
from runs.exceptions import BufferUnavailable, SpawnFailed, is_exhaustion
from runs.folders import remove_if_empty, run_folder, stacks_file
from runs.forkserver.client import Child, ChildSpec, Exit, Fate
from runs.lines import flush, store
from runs.lines.buffer import Stream
from runs.lines.records import position
from runs.lines.store.writing import REFUSALS
from runs.models import Attempt, Checkpoint
from runs.outcomes import Outcome, ProcessRow, Totals
from runs.states import AttemptKey, FailureKind, Level, Status
from runs.supervisor.events import Event, Inbox, Measured
from runs.supervisor.intake import system_line
from runs.supervisor.memory import with_default_limit
from runs.supervisor.outcome import Observation, outcome_of, storable
from runs.supervisor.recorder import Answers
from runs.supervisor.reporting import Evidence, failure_report_of
from runs.supervisor.resources import Usage
from runs.supervisor.sender import Sender
from runs.supervisor.watch import Watch
from runs.supervisor.window import Window
from runs.supervisor.worker_services import WorkerServices
from runs.transitions import EndResult

logger = logging.getLogger(__name__)

T = TypeVar("T")

GONE_S = 30.0
"""Longest wait for the end of a child whose supervisor failed."""
NOT_NOW_S = 5.0
"""Pause before the next attempt of a run whose worker had run out of something."""
REFUSAL_MAX_CHARS = 500
"""Of the reason that the child is told: its control pipe takes little without blocking."""
RETRY_S = 1.0
"""Between two tries to write the end while the database is away."""


class Supervised(TypedDict):
    """What the Celery task returns: which attempt it was, and how that ended."""

    run: int
    attempt: int
    end: str
    """How the attempt ended, see runs.states.AttemptEnd."""
    failure_kind: str
    then: str
    """What became of the run, see runs.transitions.EndResult."""
    queue: str


def supervise_next(worker: WorkerServices, queues: Sequence[str], task_id: str) -> Supervised | None:
    """Claim the next due run of `queues` and see it through to its end; None if there is none. Blocks as long as it
    takes.
    """
    attempt = worker.claim(queues, task_id)
    if attempt is None:
        return None
    try:
        supervisor = Supervisor(worker, attempt)
        worker.join(supervisor)
        return supervisor.run()
    except Exception as error:
        logger.exception("Run %s: its supervisor failed", attempt.key)
        return _given_up(attempt, error)
    finally:
        worker.leave(attempt.key)


def _given_up(attempt: Attempt, error: Exception) -> Supervised:
    """End an attempt whose supervisor failed, by a fault of its own or because it was hurried while the database is
    away. Where this process had run out of something, the run is handed back instead: not now. What does not work now
    is left to the reconciler: nobody renews the lease any more.
    """
    close_old_connections()
    outcome = Outcome(Status.FAILED, FailureKind.LOST, error="Its supervisor failed; the worker's log says why.")
    if is_exhaustion(error):
        why = f"Its worker had run out of resources: {error}"
        outcome = Outcome(Status.PENDING, error=why, ended_by="worker", retry_after_s=NOT_NOW_S)
    result = EndResult.SUPERSEDED
    try:
        result = transitions.end_attempt(attempt.key, outcome)
    except Exception:
        logger.exception("Run %s: it is left to the reconciler", attempt.key)
    return _supervised(attempt.key, outcome, result, attempt.run.queue)


def _supervised(key: AttemptKey, outcome: Outcome, result: EndResult, queue: str) -> Supervised:
    return {
        "run": key.run_id,
        "attempt": key.number,
        "end": str(outcome.attempt_end),
        "failure_kind": outcome.failure_kind or "",
        "then": str(result),
        "queue": queue,
    }


class Supervisor:
    """Owns one attempt. Other threads speak to it through `post` alone."""

    def __init__(self, worker: WorkerServices, attempt: Attempt) -> None:
        conf = worker.conf
        self.key = attempt.key
        self._worker, self._run, self._conf = worker, attempt.run, conf
        self._limits = with_default_limit(attempt.run.effective_limits(), conf)
        self._inbox = Inbox()
        self._window = Window(
            self.key, max_entries=conf.window_max_lines, max_bytes=conf.window_max_bytes, tail=conf.end_lines
        )
        self._writes = worker.recorder.open(
            self.key,
            Answers(
                stored=self._acknowledge,
                refused=self._refuse_checkpoint,
                note=self._note,
                hurry=worker.recorder.hurry,
                store_said=self._store_said,
            ),
        )
        self._kept = dict.fromkeys(Stream, 0)
        """Up to here everything was stored with a checkpoint."""
        self._gone = threading.Event()
        """No process of the child is left."""
        self.pid: int | None = None

    def post(self, event: Event) -> None:
        """Tell the watch loop something; never blocks."""
        self._inbox.post(event)

    def measured(self, usage: Usage) -> None:
        self.post(Measured(usage))

    def run(self) -> Supervised:
        """See the attempt through to its end."""
        sender = Sender(
            self._window,
            self._worker.buffer,
            batch=self._conf.push_batch,
            retry_s=self._conf.push_retry_s,
            may_send=lambda: self._worker.leases.holds(self.key),
            linger_s=self._worker.linger_s,
        )
        sender.start()
        try:
            observation, evidence = self._observe()
            self._drain()
            outcome, result = self._finish(outcome_of(observation), observation, evidence)
        finally:
            sender.end()
            self._inbox.close()
            self._worker.recorder.close(self.key)
        self._forget_buffer(result)
        if result is EndResult.FINAL:
            remove_if_empty(run_folder(self.key.run_id))
        return _supervised(self.key, outcome, result, self._run.queue)

    # spawn, watch

    def _observe(self) -> tuple[Observation, Evidence]:
        try:
            child = self._spawn()
        except SpawnFailed as error:
            if error.fate == Fate.EXHAUSTED:
                raise
            return self._not_started(error), self._evidence()
        self.pid = child.pid
        self._child = child
        self._writes.mark(child_pid=child.pid, memory_limit_bytes=self._limits.memory_limit_bytes)
        close_connection()  # none is needed while the child runs
        watch = Watch(child, self._limits, self._conf, self._inbox, self._window, self._writes, self._worker.linger_s)
        try:
            observation = watch.run(self._drain)
        except BaseException:
            logger.exception("Run %s: its supervisor failed; its child is killed", self.key)
            child.kill()
            self._gone.wait(GONE_S)
            raise
        finally:
            child.close()
        return observation, self._evidence(
            Totals(watch.peak_memory_bytes, watch.cpu_seconds), watch.inspector.processes
        )

    def _spawn(self) -> Child:
        """Start the child while the attempt is certainly this worker's. Raises SpawnFailed."""
        spec = self._until_done("its start", self._spec)
        return self._worker.forkserver.spawn(spec, self._exited, before=self._held_until)

    def _held_until(self) -> float:
        until = self._worker.leases.start_before(self.key)
        if until is None:
            raise SpawnFailed("The lease could not be renewed between the claim and the start", Fate.LEASE)
        return until

    def _not_started(self, error: SpawnFailed) -> Observation:
        """What has nothing to do with the run is not its failure: it is lost, and has another attempt."""
        logger.warning("Run %s could not be started: %s", self.key, error)
        if error.fate:
            return Observation(Exit(None, None, 0.0, 0, 0, Fate(error.fate)), None, started=False)
        return Observation(None, {"outcome": "start", "error": str(error)}, started=False)

    def _evidence(self, totals: Totals | None = None, processes: list[ProcessRow] | None = None) -> Evidence:
        return Evidence(
            limits=self._limits,
            start_timeout_s=self._conf.start_timeout_s,
            stacks_file=stacks_file(run_folder(self.key.run_id), self.key.number),
            tail=self._window.tail,
            totals=totals or Totals(),
            heartbeat_age_s=self._worker.leases.age_s,
            processes=processes or [],
        )

    def _spec(self) -> ChildSpec:
        run = self._run
        checkpoint = Checkpoint.objects.filter(run=run).first()
        if checkpoint is not None:
            self._writes.mark(restored={"attempt": checkpoint.attempt, "number": checkpoint.number})
        return ChildSpec(
            key=self.key,
            experiment=run.experiment,
            configuration=run.configuration,
            limits=run.limits,
            seed=run.seed,
            slot=run.slot.isoformat() if run.slot else None,
            folder=run_folder(run.pk),
            restored=checkpoint.state if checkpoint else None,
            line_max_bytes=self._conf.line_max_bytes,
            record_max_bytes=self._conf.record_max_bytes,
            checkpoint_max_bytes=self._conf.checkpoint_max_bytes,
        )

    def _exited(self, exit_: Exit) -> None:
        self._gone.set()
        self.post(exit_)

    def _acknowledge(self, checkpoint: int) -> None:
        self._child.send({"do": "ack", "id": checkpoint})

    def _refuse_checkpoint(self, checkpoint: int, why: str) -> None:
        self._child.send({"do": "refused", "id": checkpoint, "why": why[:REFUSAL_MAX_CHARS]})

    def _note(self, message: str) -> None:
        self._window.add(Stream.LINES, [system_line(Level.WARNING, message)])

    def _store_said(self) -> None:
        """What was said so far, in the transaction of a checkpoint. The window keeps it: only its way is shorter."""
        found = {stream: self._window.after(stream, self._kept[stream], sys.maxsize) for stream in Stream}
        upto = {stream: position(entries[-1])[1] for stream, entries in found.items() if entries}
        if upto:
            store.store_entries(self.key.run_id, found[Stream.LINES], found[Stream.RESULTS])
            transaction.on_commit(lambda: self._kept.update(upto))

    # drain, finish

    def _drain(self) -> None:
        """Store what the window holds straight into the database, and what the recorder holds."""
        if self.key.number > 1:
            self._store_earlier()
        self._writes.wait_for_provenance()
        self._persist("its last records", self._writes.write)  # first, since it may add a line
        self._persist("its last lines", self._store_window)

    def _store_earlier(self) -> None:
        """Store what Redis still has of earlier attempts, whose supervisors are gone. What does not work now is left to
        the flush.
        """
        try:
            flush.flush_run(self.key.run_id)
        except (BufferUnavailable, DatabaseError, InterfaceError) as error:
            logger.info("Run %s: lines of earlier attempts are left to the flush: %s", self.key, error)

    def _store_window(self) -> None:
        """Nothing is written once the attempt has been taken over: a worker that stood still has no say any more."""
        batch = self._conf.flush_batch
        while True:
            lines = self._window.after(Stream.LINES, 0, batch)
            results = self._window.after(Stream.RESULTS, 0, batch)
            if not lines and not results:
                return
            if not self._store_while_open(lines, results):
                logger.warning("Run %s: it was taken over, %d late lines are dropped", self.key, len(lines))
            for stream, entries in ((Stream.LINES, lines), (Stream.RESULTS, results)):
                self._window.forget(stream, self._window.stored(stream) + len(entries))

    def _store_while_open(self, lines: Sequence[bytes], results: Sequence[bytes]) -> bool:
        """Store entries unless the attempt is closed. Its row is locked last: renewals do not wait for lines."""
        with transaction.atomic():
            store.store_entries(self.key.run_id, lines, results)
            if transitions.is_open(self.key):
                return True
            transaction.set_rollback(True)
        return False

    def _finish(self, outcome: Outcome, observation: Observation, evidence: Evidence) -> tuple[Outcome, EndResult]:
        """Write the end; one that the database refuses is written without what it may have been refused for."""
        totals = replace(
            evidence.totals,
            lines_emitted=self._window.emitted(Stream.LINES),
            results_emitted=self._window.emitted(Stream.RESULTS),
        )
        report = failure_report_of(outcome, observation, evidence)
        outcome = replace(outcome, totals=totals, report=report)
        try:
            return outcome, self._end(outcome)
        except REFUSALS as error:
            logger.exception("Run %s: its end cannot be stored as it is", self.key)
            outcome = storable(outcome, str(error))
            return outcome, self._end(outcome)

    def _end(self, outcome: Outcome) -> EndResult:
        return self._persist("its end", lambda: transitions.end_attempt(self.key, outcome))

    def _persist(self, what: str, write: Callable[[], T]) -> T:
        """Do `write` when it is this run's turn, again and again while the database is away: what has happened is not
        lost for that.
        """
        return self._until_done(what, lambda: self._in_turn(write))

    def _in_turn(self, write: Callable[[], T]) -> T:
        with self._worker.turn_to_write():
            return write()

    def _until_done(self, what: str, action: Callable[[], T]) -> T:
        while True:
            close_old_connections()
            try:
                return action()
            except (OperationalError, InterfaceError) as error:
                logger.warning("Run %s: %s waits for the database: %s", self.key, what, str(error).strip())
                if self._worker.hurrying.wait(RETRY_S):
                    raise

    def _forget_buffer(self, result: EndResult) -> None:
        """Everything of a first attempt is stored: what Redis still has is not needed. If it cannot be told, and where
        earlier attempts may have left something, the flush finds out.
        """
        if result is EndResult.SUPERSEDED or self.key.number > 1:
            return
        try:
            self._worker.buffer.discard(self.key.run_id)
        except BufferUnavailable as error:
            logger.info("Run %s: its buffer is left to the flush: %s", self.key, error)
