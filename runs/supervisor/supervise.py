"""Supervise one attempt, as a pipeline: claim → spawn → watch → map the outcome → drain → finish.

The end of a run is written once, by a guarded UPDATE, after every process of the child has exited and all its output is
in the database. If this process crashes, reconcile recovers the run when its lease expires; its output is then in Redis
or the database, except for what the pipe and the window held.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runs import transitions
from runs.exceptions import SpawnFailed, is_exhaustion
from runs.folders import remove_if_empty, run_folder, stacks_file
from runs.forkserver.account import Account
from runs.forkserver.client import Child, Exit, Fate
from runs.lines.buffer import Stream
from runs.lines.store.writing import REFUSALS
from runs.models import Attempt, Checkpoint
from runs.outcomes import Outcome, ProcessRow, Totals
from runs.states import FailureKind, Level, Status
from runs.supervisor.accounts import account_of, prepare_folder
from runs.supervisor.child_spec import child_spec, may_continue, readable
from runs.supervisor.drain import Drain
from runs.supervisor.events import Event, Inbox, Measured
from runs.supervisor.intake import system_line
from runs.supervisor.memory import with_default_limit
from runs.supervisor.outcome import Observation, outcome_of, storable
from runs.supervisor.recorder import Callbacks
from runs.supervisor.redaction import SECRETS_MAX, Redactor
from runs.supervisor.reporting import Evidence, failure_report_of
from runs.supervisor.resources import Usage
from runs.supervisor.sender import Sender, SentWindow
from runs.supervisor.supervised import Supervised, supervised
from runs.supervisor.timestamps import in_database
from runs.supervisor.watch import Watch
from runs.supervisor.worker_services import WorkerServices
from runs.transitions import EndResult

logger = logging.getLogger(__name__)

EXIT_WAIT_S = 30.0
"""Longest wait for the exit of a child whose supervisor failed."""
EXHAUSTED_PAUSE_S = 5.0
"""Pause before the next attempt of a run whose worker ran out of resources."""
REASON_MAX_CHARS = 500
"""Longest reason that is sent to the child: its control pipe takes little without blocking."""


def supervise_next(worker: WorkerServices, queues: Sequence[str], task_id: str) -> Supervised | None:
    """Claim the next due run of `queues` and execute it to its end; None if no run is due. Blocks until the end."""
    attempt = worker.claim(queues, task_id)
    if attempt is None:
        return None
    try:
        supervisor = Supervisor(worker, attempt)
        worker.join(supervisor)
        return supervisor.run()
    except Exception as error:
        logger.exception("Run %s: its supervisor failed", attempt.key)
        return _abandon(attempt, error, worker.turn_to_write)
    finally:
        worker.leave(attempt.key)


def _abandon(
    attempt: Attempt, error: Exception, turn_to_write: Callable[[], AbstractContextManager[None]]
) -> Supervised:
    """End an attempt whose supervisor failed, by a bug or because its worker had to stop without the database.

    The run is released if this process ran out of resources. If this write fails too, reconcile recovers the run when
    its lease expires.
    """
    outcome = Outcome(Status.FAILED, FailureKind.LOST, error="Its supervisor failed; see the worker's log.")
    if is_exhaustion(error):
        message = f"Its worker had run out of resources: {error}"
        outcome = Outcome(Status.PENDING, error=message, ended_by="worker", retry_after_s=EXHAUSTED_PAUSE_S)
    result = EndResult.SUPERSEDED
    try:
        with turn_to_write():
            result = transitions.end_attempt(attempt.key, outcome)
    except Exception:
        logger.exception("Run %s: cannot write its end; reconcile will recover it", attempt.key)
    return supervised(attempt.key, outcome, result, attempt.run.queue)


class Supervisor:
    """Owner of one attempt. Other threads send it events through `post`."""

    def __init__(self, worker: WorkerServices, attempt: Attempt) -> None:
        conf = worker.conf
        self.key = attempt.key
        self._worker, self._run, self._conf = worker, attempt.run, conf
        self._limits = with_default_limit(attempt.run.effective_limits(), conf)
        self._inbox = Inbox()
        self._window = SentWindow(
            self.key,
            max_entries=conf.window_max_lines,
            max_bytes=conf.window_max_bytes,
            tail=conf.end_lines,
            on_first=self._start_sending,
        )
        self._sender = Sender(
            self._window,
            worker.buffer,
            batch=conf.push_batch,
            retry_s=conf.push_retry_s,
            may_send=lambda: worker.leases.holds(self.key),
            linger_s=worker.linger_s,
        )
        self._writes = worker.recorder.open(
            self.key,
            Callbacks(
                stored=self._acknowledge,
                refused=self._refuse_checkpoint,
                note=self._note,
                hurry=worker.recorder.hurry,
                store_output=self._store_output,
            ),
        )
        self._drain = Drain(worker, self.key, self._window, self._writes)
        self._tree_exited = threading.Event()
        """Set when every process of the child has exited."""
        self.pid: int | None = None

    def post(self, event: Event) -> None:
        """Send an event to the watch loop. Never blocks."""
        self._inbox.post(event)

    def measured(self, usage: Usage) -> None:
        self.post(Measured(usage))

    def run(self) -> Supervised:
        """Execute the attempt to its end."""
        try:
            observation, evidence = self._observe()
            self._drain.run()
            outcome, result = self._finish(outcome_of(observation), observation, evidence)
        finally:
            self._sender.end()
            self._inbox.close()
            self._worker.recorder.close(self.key)
        if result is not EndResult.SUPERSEDED and (self._sender.has_started or observation.stop):
            self._drain.discard_buffer()
        if result is EndResult.FINAL:
            remove_if_empty(run_folder(self.key.run_id))
        return supervised(self.key, outcome, result, self._run.queue)

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
        watch = Watch(child, self._limits, self._conf, self._inbox, self._window, self._writes, self._worker.linger_s)
        try:
            observation = watch.run(self._drain.run)
        except BaseException:
            logger.exception("Run %s: its supervisor failed; killing its child", self.key)
            child.kill()
            self._tree_exited.wait(EXIT_WAIT_S)
            raise
        finally:
            child.close()
        return observation, self._evidence(
            Totals(watch.peak_memory_bytes, watch.cpu_seconds), watch.inspector.processes
        )

    def _spawn(self) -> Child:
        """Start the child while this worker holds the lease. Raises SpawnFailed."""
        checkpoint = self._drain.in_turn("its start", self._checkpoint) if may_continue(self._run, self.key) else None
        configuration, secrets = readable(self._run.configuration)
        if secrets:
            self._redact(Redactor(secrets))
        spec = child_spec(self._run, self.key, self._conf, configuration, checkpoint)
        server = self._worker.forkservers.of(self._account(spec.folder) if self._conf.run_as else None)
        return server.spawn(spec, self._on_exit, before=self._start_deadline)

    def _account(self, folder: Path) -> Account:
        """Return the Unix account of the run, and make it the owner of the run's folder. Raises SpawnFailed."""
        account = self._drain.in_turn("its account", lambda: account_of(self._run, self._conf))
        prepare_folder(folder, account)
        return account

    def _redact(self, redactor: Redactor) -> None:
        self._window.redactor = redactor or None
        if redactor.left_out:
            self._note(f"{redactor.left_out} secrets are not redacted: the limit is {SECRETS_MAX}, with their lines.")

    def _checkpoint(self) -> Checkpoint | None:
        """Read the checkpoint from which the attempt continues, and record it."""
        checkpoint = Checkpoint.objects.filter(run=self._run).first()
        if checkpoint is not None:
            self._writes.mark(restored={"attempt": checkpoint.attempt, "number": checkpoint.number})
        return checkpoint

    def _start_deadline(self) -> float:
        deadline = self._worker.leases.start_before(self.key)
        if deadline is None:
            raise SpawnFailed("The lease could not be renewed between the claim and the start", Fate.LEASE)
        return deadline

    def _not_started(self, error: SpawnFailed) -> Observation:
        """Observe a failed start. An external cause (a fate) makes the attempt lost; otherwise the run fails."""
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

    def _on_exit(self, exit_: Exit) -> None:
        self._tree_exited.set()
        self.post(exit_)

    def _acknowledge(self, checkpoint: int) -> None:
        self._child.send({"do": "ack", "id": checkpoint})

    def _refuse_checkpoint(self, checkpoint: int, reason: str) -> None:
        self._child.send({"do": "refused", "id": checkpoint, "why": reason[:REASON_MAX_CHARS]})

    def _start_sending(self) -> None:
        self._sender.start()

    def _store_output(self) -> None:
        self._drain.store_so_far()

    def _note(self, message: str) -> None:
        self._window.add(Stream.LINES, [system_line(Level.WARNING, message)])

    def _finish(self, outcome: Outcome, observation: Observation, evidence: Evidence) -> tuple[Outcome, EndResult]:
        """Write the end. If the database refuses a value in it, write it without the values that may be refused."""
        totals = replace(
            evidence.totals,
            lines_emitted=self._window.emitted(Stream.LINES),
            results_emitted=self._window.emitted(Stream.RESULTS),
        )
        report = failure_report_of(outcome, observation, evidence)
        if report is not None and (redactor := self._window.redactor):
            report["stacks"] = redactor.text(report["stacks"])
            report["processes"] = redactor.processes(report["processes"])
        outcome = replace(outcome, totals=totals, report=report)
        marks = self._writes.take_marks()
        try:
            return outcome, self._end(outcome, marks)
        except REFUSALS as error:
            logger.exception("Run %s: the database refuses its end; storing a reduced one", self.key)
            self._writes.mark(**marks)
            self._drain.in_turn("its last records", self._writes.write)
            outcome = storable(outcome, str(error))
            return outcome, self._end(outcome, {})

    def _end(self, outcome: Outcome, marks: dict[str, Any]) -> EndResult:
        """Write the end, and the columns that the recorder has not written."""
        return self._drain.in_turn("its end", lambda: transitions.end_attempt(self.key, outcome, in_database(marks)))
