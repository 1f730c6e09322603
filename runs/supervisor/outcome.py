"""From what was observed to how the attempt ended: the one place where every way that a child can end is mapped.
Pure.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace

from experiments.signal_names import signal_name
from runs.forkserver.client import Exit, Fate
from runs.lines.records import End, plain
from runs.outcomes import Outcome
from runs.states import FailureKind, Status
from runs.supervisor.stops import Action, Reason, Stop


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that the supervisor saw of one attempt."""

    exit: Exit | None
    """None if there was never a child."""
    end: End | None
    """The child's last word, if it had one."""
    started: bool
    """Whether the experiment's own code was reached."""
    end_refusal: str = ""
    """Why a report of its end could not be read, if one came."""
    stop: Stop | None = None
    seen: bool = False
    """Whether the experiment has noticed a cancel request."""
    done: frozenset[Action] = field(default_factory=frozenset)
    """The steps of the stop that were taken."""
    last_sign_age_s: float | None = None
    """Seconds since the child's last line, result or progress."""
    last_line_age_s: float | None = None
    last_progress_age_s: float | None = None


TRACEBACK_MAX_CHARS = 20_000
"""Of a traceback that the database refused as a whole."""
_FORCEFUL = frozenset({Action.INTERRUPT, Action.TERMINATE, Action.KILL})
_FAILURES = {
    Reason.TIMEOUT: FailureKind.TIMEOUT,
    Reason.STALLED: FailureKind.STALLED,
    Reason.MEMORY: FailureKind.MEMORY,
    Reason.START_TIMEOUT: FailureKind.START,
    Reason.LEASE_LOST: FailureKind.LOST,
}


CRASH_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_FATES = {
    Fate.LEASE: "The worker could not renew its lease in time: the database was away, or the worker was frozen",
    Fate.SERVER: "The fork server was killed or stopped",
}


def outcome_of(seen: Observation) -> Outcome:
    """How the attempt ended.

    Whoever was first counts: an experiment that returned or failed before anything was done to it, and before it
    noticed a cancel, ended by itself.
    """
    stop = seen.stop
    if stop is None or not _stopped(seen, stop):
        return _by_itself(seen)
    if stop.reason == Reason.CANCEL:
        return _outcome(seen, Status.CANCELLED, None, stop.message)
    if stop.reason == Reason.DRAIN:
        return _outcome(seen, Status.PENDING, None, stop.message)
    return _outcome(seen, Status.FAILED, _FAILURES[stop.reason], stop.message)


def _stopped(seen: Observation, stop: Stop) -> bool:
    """Whether the stop is what ended the child."""
    if seen.end is not None and seen.end["outcome"] == "cancelled":
        return True
    if stop.reason == Reason.CANCEL and seen.seen:
        return True
    return bool(seen.done & _FORCEFUL)


def _by_itself(seen: Observation) -> Outcome:
    if seen.end is None:
        return _without_report(seen)
    reported, error = seen.end["outcome"], seen.end.get("error", "")
    if reported == "returned" or (reported == "exited" and seen.end.get("exit_code", 1) == 0):
        return _outcome(seen, Status.COMPLETED, None, "", summary=seen.end.get("summary"))
    if reported == "retry_later":
        after_s = float(seen.end.get("after_s", 0.0))
        return replace(_outcome(seen, Status.PENDING, None, error), retry_after_s=after_s)
    if reported == "cancelled":
        error = "RunCancelled was raised, but no cancel was requested"
    kinds = {"config": FailureKind.CONFIG, "start": FailureKind.START}
    return _outcome(seen, Status.FAILED, kinds.get(reported, FailureKind.ERROR), error)


def _without_report(seen: Observation) -> Outcome:
    if seen.exit is not None and seen.exit.fate:
        return _lost(seen, seen.exit)
    if seen.end_refusal and seen.exit is not None and seen.exit.status == 0:
        why = f"Its result could not be kept: {seen.end_refusal}"
        return _outcome(seen, Status.FAILED, FailureKind.ERROR, why)
    how = describe_exit(seen.exit)
    if not seen.started:
        return _outcome(seen, Status.FAILED, FailureKind.START, f"{how} before the experiment started")
    return _outcome(seen, Status.FAILED, FailureKind.CRASHED, f"{how} before it reported a result")


def _lost(seen: Observation, exit_: Exit) -> Outcome:
    """What was not the process' own end. It is excused unless it may be the cause: alone, and executed."""
    error = _FATES[exit_.fate]
    if exit_.company:
        error += f"; its worker had {exit_.company} other {'run' if exit_.company == 1 else 'runs'} then"
    outcome = _outcome(seen, Status.FAILED, FailureKind.LOST, error)
    return replace(outcome, excused=exit_.company > 0 or exit_.signal is None)


def _outcome(
    seen: Observation, status: Status, kind: FailureKind | None, error: str, *, summary: object = None
) -> Outcome:
    end: End = seen.end or {"outcome": "failed"}
    return Outcome(
        status=status,
        failure_kind=kind,
        error=error,
        traceback=end.get("traceback", ""),
        summary=summary if summary is not None else end.get("summary"),
        exit_status=seen.exit.status if seen.exit else None,
        signal=seen.exit.signal if seen.exit else None,
        ended_by=seen.stop.message if seen.stop and error == seen.stop.message else "",
    )


def describe_exit(exit_: Exit | None) -> str:
    """Say how a process ended, e.g. `Crashed with SIGSEGV (segmentation fault)` or `Exited with status 3`."""
    if exit_ is None:
        return "Not started"
    if exit_.signal is None:
        return f"Exited with status {exit_.status}"
    if exit_.signal in CRASH_SIGNALS:
        return f"Crashed with {signal_name(exit_.signal)} ({str(signal.strsignal(exit_.signal)).lower()})"
    return f"Killed by {signal_name(exit_.signal)}"


def storable(outcome: Outcome, why: str) -> Outcome:
    """What is stored in the place of an outcome that the database refuses: a run that completed fails, since its result
    is lost.
    """
    error = f"Its end could not be stored as it was ({plain(why, 500)})"
    if outcome.error:
        error += f": {plain(outcome.error)}"
    if outcome.status == Status.COMPLETED:
        outcome = replace(outcome, status=Status.FAILED, failure_kind=FailureKind.ERROR)
    return replace(
        outcome,
        error=error,
        traceback=plain(outcome.traceback, TRACEBACK_MAX_CHARS),
        summary=None,
        report=None,
        ended_by=plain(outcome.ended_by),
    )
