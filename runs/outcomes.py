"""Outcome of an attempt: what its supervisor, or reconcile, reports of its end, and what the database then stores."""

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
    """The limit that ended an attempt."""

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
    """Of the whole process tree."""
    cpu_seconds: float | None
    limit: LimitReached | None
    asked_by: str
    """Who or what asked for the end, if not the experiment itself."""
    started: bool
    """Whether the experiment's own code was reached."""
    steps: list[str]
    """Steps taken to stop it, in order of force: interrupt, terminate, kill."""
    heartbeat_age_s: float | None
    """Since its worker last renewed the lease."""
    last_sign_age_s: float | None
    """Since the last line, result or progress."""
    last_line_age_s: float | None
    last_progress_age_s: float | None
    last_lines: list[LastLine]
    stacks: str
    """Python stacks of all its threads, newest dump last; empty if none was taken."""
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
    """How an attempt ended, and the run if it has no other. `pending` is an attempt that was handed back."""

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
    """Pause that an attempt which was handed back asks for."""
    totals: Totals | None = None
    report: FailureReport | None = None

    @property
    def attempt_end(self) -> AttemptEnd:
        if self.failure_kind == FailureKind.LOST:
            return AttemptEnd.LOST
        return AttemptEnd.RELEASED if self.status == Status.PENDING else AttemptEnd(self.status.value)
