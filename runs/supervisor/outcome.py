"""From what was observed to how the attempt ended: the one place where every way that a child can end is mapped.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from experiments.signal_names import signal_name
from runs.forkserver.client import Exit, Fate
from runs.lines.records import End, plain
from runs.states import FailureKind, Status
from runs.supervisor.stops import Action, Reason, Stop
from runs.transitions import Ending


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the attempt ended. Whether the run has another is decided by `transitions.settle`."""

    ending: Ending
    retry_after_s: float = 0.0
    """The pause that a run which is handed back asks for."""


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


_FATES = {
    Fate.LEASE: "Its worker could not renew its lease in time: the database was away, or the worker stood still",
    Fate.SERVER: "The process that it was forked from was killed or went down",
}


def verdict(seen: Observation) -> Verdict:
    """How the attempt ended.

    Whoever was first counts: an experiment that returned or failed before anything was done to it, and before it
    noticed a cancel, ended by itself.
    """
    stop = seen.stop
    if stop is None or not _stopped(seen, stop):
        return _by_itself(seen)
    if stop.reason == Reason.CANCEL:
        return Verdict(_ending(seen, Status.CANCELLED, None, stop.message))
    if stop.reason == Reason.DRAIN:
        return Verdict(_ending(seen, Status.PENDING, None, stop.message))
    return Verdict(_ending(seen, Status.FAILED, _FAILURES[stop.reason], stop.message))


def _stopped(seen: Observation, stop: Stop) -> bool:
    """Whether the stop is what ended the child."""
    if seen.end is not None and seen.end["outcome"] == "cancelled":
        return True
    if stop.reason == Reason.CANCEL and seen.seen:
        return True
    return bool(seen.done & _FORCEFUL)


def _by_itself(seen: Observation) -> Verdict:
    if seen.end is None:
        return Verdict(_without_a_word(seen))
    outcome, error = seen.end["outcome"], seen.end.get("error", "")
    if outcome == "returned" or (outcome == "exited" and seen.end.get("exit_code", 1) == 0):
        return Verdict(_ending(seen, Status.COMPLETED, None, "", summary=seen.end.get("summary")))
    if outcome == "retry_later":
        after_s = float(seen.end.get("after_s", 0.0))
        return Verdict(_ending(seen, Status.PENDING, None, error), retry_after_s=after_s)
    if outcome == "cancelled":
        error = "RunCancelled was raised although nobody asked to cancel the run"
    kinds = {"config": FailureKind.CONFIG, "start": FailureKind.START}
    return Verdict(_ending(seen, Status.FAILED, kinds.get(outcome, FailureKind.ERROR), error))


def _without_a_word(seen: Observation) -> Ending:
    if seen.exit is not None and seen.exit.fate:
        return _lost(seen, seen.exit)
    if seen.end_refusal and seen.exit is not None and seen.exit.status == 0:
        why = f"Its result could not be kept: {seen.end_refusal}"
        return _ending(seen, Status.FAILED, FailureKind.ERROR, why)
    how = describe_exit(seen.exit)
    if not seen.started:
        return _ending(seen, Status.FAILED, FailureKind.START, f"The process {how} before the experiment began")
    return _ending(seen, Status.FAILED, FailureKind.CRASHED, f"The process {how} without a word")


def _lost(seen: Observation, exit_: Exit) -> Ending:
    """What was not the process' own end. It is excused unless it may be the cause: alone, and executed."""
    error = _FATES[exit_.fate]
    if exit_.company:
        error += f"; its worker had {exit_.company} other {'run' if exit_.company == 1 else 'runs'} then"
    ending = _ending(seen, Status.FAILED, FailureKind.LOST, error)
    return replace(ending, excused=exit_.company > 0 or exit_.signal is None)


def _ending(
    seen: Observation, status: Status, kind: FailureKind | None, error: str, *, summary: object = None
) -> Ending:
    end: End = seen.end or {"outcome": "failed"}
    return Ending(
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
    """`was killed by SIGSEGV`, `ended with exit status 3`."""
    if exit_ is None:
        return "was never started"
    if exit_.signal is None:
        return f"ended with exit status {exit_.status}"
    return f"was ended by {signal_name(exit_.signal)}"


def storable(ending: Ending, why: str) -> Ending:
    """What is stored in the place of an ending that the database refuses: a run that completed fails, since its result
    is lost.
    """
    error = f"Its end could not be stored as it was ({plain(why, 500)})"
    if ending.error:
        error += f": {plain(ending.error)}"
    if ending.status == Status.COMPLETED:
        ending = replace(ending, status=Status.FAILED, failure_kind=FailureKind.ERROR)
    return replace(
        ending,
        error=error,
        traceback=plain(ending.traceback, TRACEBACK_MAX_CHARS),
        summary=None,
        ended_by=plain(ending.ended_by),
    )
