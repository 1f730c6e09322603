"""Mapping from the observation of an attempt to its outcome, for every way in which a child can end. Pure."""

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
    """Everything that the supervisor observed of one attempt."""

    exit: Exit | None
    """None if no child was started."""
    end: End | None
    """Child's report of its end, if it sent one."""
    started: bool
    """True if the experiment's own code was reached."""
    end_refusal: str = ""
    """Why the report of its end could not be read; empty if it could, or if there was none."""
    stop: Stop | None = None
    cancel_seen: bool = False
    """True if the experiment has noticed a cancel request."""
    steps_taken: frozenset[Action] = field(default_factory=frozenset)
    """Steps of the stop that were taken."""
    last_sign_age_s: float | None = None
    """Seconds since the child's last line, result or progress."""
    last_line_age_s: float | None = None
    last_progress_age_s: float | None = None


TRACEBACK_MAX_CHARS = 20_000
"""Longest part that is kept of a traceback that the database refused."""
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


def outcome_of(observation: Observation) -> Outcome:
    """Map an observation to the outcome of the attempt.

    An experiment that returned or failed before a forceful step was taken, and before it noticed a cancel, ended by
    itself.
    """
    stop = observation.stop
    if stop is None or not _stopped(observation, stop):
        return _by_itself(observation)
    if stop.reason == Reason.CANCEL:
        return _outcome(observation, Status.CANCELLED, None, stop.message)
    if stop.reason == Reason.DRAIN:
        return _outcome(observation, Status.PENDING, None, stop.message)
    return _outcome(observation, Status.FAILED, _FAILURES[stop.reason], stop.message)


def _stopped(observation: Observation, stop: Stop) -> bool:
    """Return whether the stop ended the child."""
    if observation.end is not None and observation.end["outcome"] == "cancelled":
        return True
    if stop.reason == Reason.CANCEL and observation.cancel_seen:
        return True
    return bool(observation.steps_taken & _FORCEFUL)


def _by_itself(observation: Observation) -> Outcome:
    if observation.end is None:
        return _without_report(observation)
    reported, error = observation.end["outcome"], observation.end.get("error", "")
    if reported == "returned" or (reported == "exited" and observation.end.get("exit_code", 1) == 0):
        return _outcome(observation, Status.COMPLETED, None, "", summary=observation.end.get("summary"))
    if reported == "retry_later":
        after_s = float(observation.end.get("after_s", 0.0))
        return replace(_outcome(observation, Status.PENDING, None, error), retry_after_s=after_s)
    if reported == "cancelled":
        error = "RunCancelled was raised, but no cancel was requested"
    kinds = {"config": FailureKind.CONFIG, "start": FailureKind.START}
    return _outcome(observation, Status.FAILED, kinds.get(reported, FailureKind.ERROR), error)


def _without_report(observation: Observation) -> Outcome:
    if observation.exit is not None and observation.exit.fate:
        return _lost(observation, observation.exit)
    if observation.end_refusal and observation.exit is not None and observation.exit.status == 0:
        why = f"Its result could not be stored: {observation.end_refusal}"
        return _outcome(observation, Status.FAILED, FailureKind.ERROR, why)
    how = describe_exit(observation.exit)
    if not observation.started:
        return _outcome(observation, Status.FAILED, FailureKind.START, f"{how} before the experiment started")
    return _outcome(observation, Status.FAILED, FailureKind.CRASHED, f"{how} before it reported a result")


def _lost(observation: Observation, exit_: Exit) -> Outcome:
    """Return the outcome of an external cause. It is excused unless the run may be the cause: it ran, and alone."""
    error = _FATES[exit_.fate]
    if exit_.company:
        error += f"; its worker had {exit_.company} other {'run' if exit_.company == 1 else 'runs'} then"
    outcome = _outcome(observation, Status.FAILED, FailureKind.LOST, error)
    return replace(outcome, excused=exit_.company > 0 or exit_.signal is None)


def _outcome(
    observation: Observation, status: Status, kind: FailureKind | None, error: str, *, summary: object = None
) -> Outcome:
    end: End = observation.end or {"outcome": "failed"}
    return Outcome(
        status=status,
        failure_kind=kind,
        error=error,
        traceback=end.get("traceback", ""),
        summary=summary if summary is not None else end.get("summary"),
        exit_status=observation.exit.status if observation.exit else None,
        signal=observation.exit.signal if observation.exit else None,
        ended_by=observation.stop.message if observation.stop and error == observation.stop.message else "",
    )


def describe_exit(exit_: Exit | None) -> str:
    """Describe how a process ended, e.g. `Crashed with SIGSEGV (segmentation fault)` or `Exited with status 3`."""
    if exit_ is None:
        return "Not started"
    if exit_.signal is None:
        return f"Exited with status {exit_.status}"
    if exit_.signal in CRASH_SIGNALS:
        return f"Crashed with {signal_name(exit_.signal)} ({str(signal.strsignal(exit_.signal)).lower()})"
    return f"Killed by {signal_name(exit_.signal)}"


def storable(outcome: Outcome, why: str) -> Outcome:
    """Reduce an outcome that the database refuses. A run that completed fails, since its result is lost."""
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
