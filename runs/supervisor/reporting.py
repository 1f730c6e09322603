"""Failure report of an attempt, as its supervisor writes it. Pure except for reading the file of the stacks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.limits import Limits
from runs.lines import records
from runs.outcomes import FailureReport, LimitReached, Outcome, ProcessRow, Totals
from runs.recovery import failure_report
from runs.states import Status
from runs.supervisor.outcome import Observation
from runs.supervisor.stops import Reason

_LIMITS = {
    Reason.TIMEOUT: "timeout_s",
    Reason.STALLED: "stall_timeout_s",
    Reason.MEMORY: "memory_limit_bytes",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Values of a report that are not part of the observation."""

    limits: Limits
    start_timeout_s: float
    stacks_file: Path
    tail: Iterable[bytes] = ()
    """Last entries of its lines."""
    totals: Totals = field(default_factory=Totals)
    heartbeat_age_s: float | None = None
    processes: list[ProcessRow] = field(default_factory=list)


def failure_report_of(outcome: Outcome, observation: Observation, evidence: Evidence) -> FailureReport | None:
    """Report on an attempt, or None if it completed."""
    if outcome.status == Status.COMPLETED:
        return None
    return {
        "written_by": "supervisor",
        "failure_kind": str(outcome.failure_kind or ""),
        "exit_status": outcome.exit_status,
        "signal": outcome.signal,
        "peak_memory_bytes": evidence.totals.peak_memory_bytes,
        "cpu_seconds": evidence.totals.cpu_seconds,
        "limit": _limit(observation, outcome.ended_by, evidence),
        "asked_by": outcome.ended_by,
        "started": observation.started,
        "steps": sorted(observation.steps_taken),
        "heartbeat_age_s": _rounded(evidence.heartbeat_age_s),
        "last_sign_age_s": _rounded(observation.last_sign_age_s),
        "last_line_age_s": _rounded(observation.last_line_age_s),
        "last_progress_age_s": _rounded(observation.last_progress_age_s),
        "last_lines": failure_report.last_lines(records.decode_line(entry) for entry in evidence.tail),
        "stacks": failure_report.stacks(evidence.stacks_file),
        "processes": evidence.processes,
    }


def _limit(observation: Observation, ended_by: str, evidence: Evidence) -> LimitReached | None:
    """Return the limit that ended the attempt, if one did."""
    reason = observation.stop.reason if observation.stop and ended_by else None
    if reason == Reason.START_TIMEOUT:
        return {"name": "start_timeout_s", "value": evidence.start_timeout_s}
    name = _LIMITS.get(reason) if reason else None
    return {"name": name, "value": float(getattr(evidence.limits, name))} if name else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds, 3)
