"""Outcome of an attempt, as its supervisor or reconcile determines it and the database stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from runs.states import AttemptEnd, FailureKind, Status


class LastLine(TypedDict):
    """One of the last lines of an attempt."""

    seq: int
    time: float
    level: int
    source: str
    message: str


class LimitReached(TypedDict):
    """Limit that ended an attempt."""

    name: str
    """As in experiments.limits, or `start_timeout_s`."""
    value: float


class ProcessRow(TypedDict):
    """One process of a run's tree."""

    pid: int
    parent: int
    command: str
    memory_bytes: int
    cpu_seconds: float


class FailureReport(TypedDict):
    """Stored as `Attempt.certificate`. Ages are seconds before the end; None if it never happened or is unknown."""

    written_by: str
    """supervisor or reconcile."""
    failure_kind: str
    exit_status: int | None
    signal: int | None
    peak_memory_bytes: int | None
    """Peak of the whole process tree."""
    cpu_seconds: float | None
    limit: LimitReached | None
    asked_by: str
    """Person or component that requested the end; empty if the experiment ended by itself."""
    started: bool
    """True if the experiment's own code was reached."""
    steps: list[str]
    """Steps taken to stop it, in order of force: interrupt, terminate, kill."""
    heartbeat_age_s: float | None
    """Since the last renewal of its lease."""
    last_sign_age_s: float | None
    """Since the last line, result or progress."""
    last_line_age_s: float | None
    last_progress_age_s: float | None
    last_lines: list[LastLine]
    stacks: str
    """Python stacks of all its threads, newest dump last; empty if there is none."""
    processes: list[ProcessRow]
    """Its process tree when it was last measured."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Resources that an attempt used and records that it sent."""

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    lines_emitted: int | None = None
    results_emitted: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of an attempt, and of its run if that has no other attempt. `pending` means that the attempt was released."""

    status: Status
    failure_kind: FailureKind | None = None
    error: str = ""
    traceback: str = ""
    summary: Any = None
    ended_by: str = ""
    exit_status: int | None = None
    signal: int | None = None
    excused: bool = False
    """A loss that does not count against the run."""
    retry_after_s: float = 0.0
    """Pause before the next attempt, as a released attempt requested it."""
    totals: Totals | None = None
    report: FailureReport | None = None

    @property
    def attempt_end(self) -> AttemptEnd:
        if self.failure_kind == FailureKind.LOST:
            return AttemptEnd.LOST
        return AttemptEnd.RELEASED if self.status == Status.PENDING else AttemptEnd(self.status.value)
