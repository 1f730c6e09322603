"""The certificate of an attempt as its supervisor writes it. Pure but for the file of the stacks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.limits import Limits
from runs.lines import records
from runs.recovery import failure_report
from runs.recovery.failure_report import Certificate, LimitMet, ProcessSeen
from runs.states import Status
from runs.supervisor.outcome import Observation, Verdict
from runs.supervisor.stops import Reason

_LIMITS = {
    Reason.TIMEOUT: "timeout_s",
    Reason.STALLED: "stall_timeout_s",
    Reason.MEMORY: "memory_limit_bytes",
}


@dataclass(slots=True)
class Spent:
    """What the child and everything below it used."""

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the supervisor knows besides the observation."""

    limits: Limits
    start_timeout_s: float
    stacks_file: Path
    tail: Iterable[bytes] = ()
    """The last entries of its lines."""
    spent: Spent = field(default_factory=Spent)
    heartbeat_age_s: float | None = None
    processes: list[ProcessSeen] = field(default_factory=list)


def certify(found: Verdict, observation: Observation, seen: Seen) -> Certificate | None:
    """The certificate of an attempt, or None if it ended well."""
    ending = found.ending
    if ending.status == Status.COMPLETED:
        return None
    return {
        "witness": "supervisor",
        "failure_kind": str(ending.failure_kind or ""),
        "exit_status": ending.exit_status,
        "signal": ending.signal,
        "peak_memory_bytes": seen.spent.peak_memory_bytes,
        "cpu_seconds": seen.spent.cpu_seconds,
        "limit": _limit(observation, ending.ended_by, seen),
        "asked_by": ending.ended_by,
        "started": observation.started,
        "steps": sorted(observation.done),
        "heartbeat_age_s": _rounded(seen.heartbeat_age_s),
        "last_sign_age_s": _rounded(observation.last_sign_age_s),
        "last_line_age_s": _rounded(observation.last_line_age_s),
        "last_progress_age_s": _rounded(observation.last_progress_age_s),
        "last_lines": failure_report.last_lines(records.decode_line(entry) for entry in seen.tail),
        "stacks": failure_report.stacks(seen.stacks_file),
        "processes": seen.processes,
    }


def _limit(observation: Observation, ended_by: str, seen: Seen) -> LimitMet | None:
    """The limit that ended it, if one did."""
    reason = observation.stop.reason if observation.stop and ended_by else None
    if reason == Reason.START_TIMEOUT:
        return {"name": "start_timeout_s", "value": seen.start_timeout_s}
    name = _LIMITS.get(reason) if reason else None
    return {"name": name, "value": float(getattr(seen.limits, name))} if name else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds, 3)
