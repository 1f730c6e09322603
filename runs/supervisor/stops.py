"""Stops of a run before its own end: reasons, and the steps of each with their times. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from experiments.limits import Limits

STACKS_S = 0.1
"""Time for the dump of the stacks before a kill."""


class Reason(StrEnum):
    """Reason for a stop, in order of urgency: a later one in this list replaces an earlier stop under way."""

    DRAIN = "drain"
    CANCEL = "cancel"
    STALLED = "stalled"
    TIMEOUT = "timeout"
    START_TIMEOUT = "start_timeout"
    MEMORY = "memory"
    LEASE_LOST = "lease_lost"


_URGENCY = {reason: rank for rank, reason in enumerate(Reason)}
_SAME_LADDER = {Reason.CANCEL, Reason.STALLED, Reason.TIMEOUT}


class Action(StrEnum):
    """Step of a stop."""

    TELL_CANCEL = "tell_cancel"
    TELL_STOPPING = "tell_stopping"
    STACKS = "stacks"
    INTERRUPT = "interrupt"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Step:
    at: float
    """Monotonic seconds."""
    action: Action


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop under way: its reason, the message for users, and its steps."""

    reason: Reason
    message: str
    steps: tuple[Step, ...]

    def yields_to(self, reason: Reason) -> bool:
        """Return whether a stop for `reason` replaces this one. Cancel, stall and timeout do not replace each other:
        their steps are the same.
        """
        if self.reason in _SAME_LADDER and reason in _SAME_LADDER:
            return False
        return _URGENCY[reason] > _URGENCY[self.reason]


def plan(reason: Reason, message: str, limits: Limits, now: float, *, drain_s: float = 0.0) -> Stop:
    """Plan the stop for `reason`, starting at `now` (monotonic seconds)."""
    return Stop(reason, message, tuple(_steps(reason, limits, now, drain_s)))


def _steps(reason: Reason, limits: Limits, now: float, drain_s: float) -> list[Step]:
    if reason in (Reason.MEMORY, Reason.START_TIMEOUT):
        return [Step(now, Action.STACKS), Step(now + STACKS_S, Action.KILL)]
    if reason == Reason.LEASE_LOST:
        return [Step(now, Action.KILL)]
    if reason == Reason.CANCEL:
        first, interrupt_at = [Step(now, Action.TELL_CANCEL)], now + limits.interrupt_after_s
    elif reason == Reason.DRAIN:
        first, interrupt_at = [Step(now, Action.TELL_STOPPING)], now + drain_s
    else:
        first, interrupt_at = [Step(now, Action.STACKS)], now + STACKS_S
    terminate_at = interrupt_at + limits.cancel_grace_s
    kill_at = terminate_at + limits.kill_grace_s
    return [
        *first,
        Step(interrupt_at, Action.INTERRUPT),
        Step(terminate_at, Action.STACKS),
        Step(terminate_at, Action.TERMINATE),
        Step(kill_at, Action.STACKS),
        Step(kill_at + STACKS_S, Action.KILL),
    ]


class Ladder:
    """Stop under way, which returns each of its actions once, when it is due."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self._left = list(stop.steps)

    def due(self, now: float) -> list[Action]:
        """Return the actions that are due by `now` (monotonic seconds) and were not returned before, in order."""
        number = sum(step.at <= now for step in self._left)
        due, self._left = self._left[:number], self._left[number:]
        return [step.action for step in due]

    @property
    def next_at(self) -> float:
        """Time of the next action; infinite if none is left."""
        return self._left[0].at if self._left else float("inf")

    def hurry(self, now: float) -> None:
        """Shift the remaining steps, so that the next action is due now."""
        shift = max(self.next_at - now, 0.0)
        self._left = [Step(step.at - shift, step.action) for step in self._left]
