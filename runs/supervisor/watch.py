"""Loop that watches one child: its pipes, its exit, its limits, and events. Never blocks on Redis or a database."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable

from experiments.limits import Limits
from runs.conf import RunsSettings
from runs.forkserver.client import Child, Exit
from runs.inspections import Inspection
from runs.lines.buffer import CancelRequested, InspectionRequested, StoredUpTo, Stream
from runs.states import Level
from runs.supervisor import stops
from runs.supervisor.events import Draining, Event, Inbox, LeaseLost, Measured
from runs.supervisor.inspector import Inspector
from runs.supervisor.intake import Intake, system_line
from runs.supervisor.outcome import Observation
from runs.supervisor.recorder import RunRecords
from runs.supervisor.resources import Usage, proportional_memory
from runs.supervisor.stops import Action, Ladder, Reason
from runs.supervisor.timestamps import Timestamp
from runs.supervisor.window import Window

IDLE_S = 5.0
"""Longest sleep of the loop if nothing is due earlier."""

_COLUMNS = {Action.INTERRUPT: "interrupted_at", Action.TERMINATE: "terminated_at", Action.KILL: "killed_at"}
_MESSAGES = {
    Action.INTERRUPT: "Interrupting the experiment",
    Action.TERMINATE: "Still running; sending SIGTERM",
    Action.KILL: "Killing all processes of the run",
}
_INSPECTED = frozenset({Reason.STALLED, Reason.TIMEOUT, Reason.MEMORY})
"""Stops before which the child is inspected."""


class Watch:
    """Watch one child from its spawn until every process of it has exited and its pipes are empty."""

    def __init__(
        self,
        child: Child,
        limits: Limits,
        conf: RunsSettings,
        inbox: Inbox,
        window: Window,
        writes: RunRecords,
        linger_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`linger_s` returns the pause after each turn: a busy worker reads more at once rather than more often."""
        self._child, self._limits, self._conf = child, limits, conf
        self._inbox, self._window, self._writes, self._linger_s = inbox, window, writes, linger_s
        self.inspector = Inspector(child, lambda: window.emitted(Stream.LINES), self._inspected)
        self._selector = selectors.DefaultSelector()
        self._intake = Intake(child, conf, window, writes, self._selector)
        self._spawned_at = time.monotonic()
        self._ladder: Ladder | None = None
        self._steps_taken: set[Action] = set()
        self._lingered = False
        self._exit: Exit | None = None
        self.peak_memory_bytes = 0
        self.cpu_seconds = 0.0

    def run(self, relieve: Callable[[], None]) -> Observation:
        """Watch until the end. `relieve` must make room in the window; it is called only after the child has exited."""
        try:
            self._selector.register(self._inbox, selectors.EVENT_READ)
            while self._exit is None:
                self.run_once()
                time.sleep(max(self._linger_s(), self._intake.pause_s))
            self._intake.read_the_rest(relieve)
        finally:
            self._selector.close()
        self.peak_memory_bytes = max(self.peak_memory_bytes, self._exit.peak_memory_bytes)
        self.cpu_seconds = max(self.cpu_seconds, self._exit.cpu_seconds)
        return self._observation()

    def run_once(self) -> None:
        """Take one turn: wait, read output, handle events, enforce limits."""
        self._intake.listen_while_there_is_room()
        wait_s = max(self._next_due() - time.monotonic(), 0.0)
        self._intake.read({key.fd for key, _ in self._selector.select(wait_s)})
        self._intake.rest()
        for event in self._inbox.take():
            self._take(event)
        if self._exit is None:
            self._enforce_limits(time.monotonic())
            self._climb(time.monotonic())

    def _observation(self) -> Observation:
        child, now = self._intake.state, time.monotonic()
        return Observation(
            exit=self._exit,
            end=child.end,
            end_refusal=child.end_refusal,
            started=child.started_at is not None,
            stop=self._ladder.stop if self._ladder else None,
            cancel_seen=child.cancel_seen,
            steps_taken=frozenset(self._steps_taken),
            last_sign_age_s=now - child.last_sign_at,
            last_line_age_s=None if child.last_line_at is None else now - child.last_line_at,
            last_progress_age_s=None if child.last_progress_at is None else now - child.last_progress_at,
        )

    def _inspected(self, inspection: Inspection) -> None:
        if redactor := self._window.redactor:
            inspection["stacks"] = redactor.text(inspection["stacks"])
            inspection["processes"] = redactor.processes(inspection["processes"])
        self._writes.inspected(inspection)

    # Events

    def _take(self, event: Event) -> None:
        match event:
            case Exit():
                self._exit = event
                self._writes.mark(gone_at=Timestamp.now())
            case CancelRequested(by=by):
                self._begin(Reason.CANCEL, f"Cancelled by {by}" if by else "Cancelled")
            case LeaseLost():
                self._begin(Reason.LEASE_LOST, "Its worker no longer holds the lease")
            case Draining(hurry):
                self._begin(Reason.DRAIN, "Its worker is going down")
                if hurry and self._ladder:
                    self._ladder.hurry(time.monotonic())
            case StoredUpTo(lines=lines, results=results):
                self._window.forget(Stream.LINES, lines)
                self._window.forget(Stream.RESULTS, results)
            case Measured(usage):
                self._measured(usage)
            case InspectionRequested():
                self.inspector.ask("asked")

    def _measured(self, usage: Usage) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, usage.memory_bytes)
        self.cpu_seconds = max(self.cpu_seconds, usage.cpu_seconds)
        limit = self._limits.memory_limit_bytes
        if limit is not None and usage.memory_bytes > limit and (used := proportional_memory(usage)) > limit:
            self._begin(
                Reason.MEMORY, f"It used {used / 2**20:,.0f} MiB of memory; its limit is {limit / 2**20:,.0f} MiB"
            )

    # Limits and stops

    def _deadlines(self) -> list[tuple[float, Reason, str]]:
        """Return the limits that may still end the child: time, reason and message."""
        child, limits = self._intake.state, self._limits
        if child.ended_at is not None:
            return []
        if child.started_at is None:
            start_s = self._conf.start_timeout_s
            deadlines = [(self._spawned_at + start_s, Reason.START_TIMEOUT, f"It did not start within {start_s:g} s")]
        else:
            deadlines = []
            if (timeout_s := limits.timeout_s) is not None:
                deadlines.append((child.started_at + timeout_s, Reason.TIMEOUT, f"It ran longer than {timeout_s:g} s"))
            if (stall_s := limits.stall_timeout_s) is not None:
                deadlines.append((child.last_sign_at + stall_s, Reason.STALLED, f"It was silent for {stall_s:g} s"))
        return [limit for limit in deadlines if self._ladder is None or self._ladder.stop.yields_to(limit[1])]

    def _linger_at(self) -> float:
        """Return when a child that has reported its end but does not exit is killed."""
        ended_at = self._intake.state.ended_at
        return float("inf") if self._lingered or ended_at is None else ended_at + self._conf.end_grace_s

    def _next_due(self) -> float:
        ended = self._intake.state.ended_at is not None
        ladder_at = self._ladder.next_at if self._ladder and not ended else float("inf")
        limits_at = min((at for at, _, _ in self._deadlines()), default=float("inf"))
        return min(time.monotonic() + IDLE_S, limits_at, ladder_at, self._linger_at(), self._intake.rest_at)

    def _enforce_limits(self, now: float) -> None:
        for due_at, reason, message in self._deadlines():
            if now >= due_at:
                self._begin(reason, message)
        if now >= self._linger_at():
            self._lingered = True
            self._log(f"Still running {self._conf.end_grace_s:g} s after it finished; killing it")
            self._child.kill()

    def _begin(self, reason: Reason, message: str) -> None:
        if self._exit is not None or (self._ladder and not self._ladder.stop.yields_to(reason)):
            return
        self._log(message)
        if reason in _INSPECTED:
            self.inspector.ask(str(reason))
        self._steps_taken.clear()
        self._ladder = Ladder(stops.plan(reason, message, self._limits, time.monotonic(), drain_s=self._conf.drain_s))

    def _climb(self, now: float) -> None:
        for action in self._ladder.due(now) if self._ladder else ():
            if self._intake.state.ended_at is None:  # after its report of the end, it has `end_grace_s` instead
                self._act(action)

    def _act(self, action: Action) -> None:
        child = self._child
        if action in _MESSAGES:
            self._log(_MESSAGES[action])
            self._steps_taken.add(action)
            self._writes.mark(**{_COLUMNS[action]: Timestamp.now()})
        match action:
            case Action.TELL_CANCEL:
                child.send({"do": "cancel"})
            case Action.TELL_STOPPING:
                child.send({"do": "stopping"})
            case Action.STACKS:
                child.request_stacks()
            case Action.INTERRUPT:
                child.interrupt()
            case Action.TERMINATE:
                child.terminate()
            case Action.KILL:
                child.kill()

    def _log(self, message: str) -> None:
        self._window.add(Stream.LINES, [system_line(Level.WARNING, message)])
