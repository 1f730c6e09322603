"""Why and how a run is stopped before its own end: reasons, and for each the steps with their times. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from experiments.limits import Limits

STACKS_S = 0.1
"""Time that the stacks' dump gets before a kill."""


class Reason(StrEnum):
    """Why. In the order of urgency: a later one in this list replaces an earlier one that is under way."""

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
    """What is done to the child."""

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
    """A stop that is under way: what for, the sentence for people, and when each step is due."""

    reason: Reason
    message: str
    steps: tuple[Step, ...]

    def yields_to(self, reason: Reason) -> bool:
        """Whether a stop for `reason` should replace this one: cancel, stall and time-out already end on the same
        ladder.
        """
        if self.reason in _SAME_LADDER and reason in _SAME_LADDER:
            return False
        return _URGENCY[reason] > _URGENCY[self.reason]


def plan(reason: Reason, message: str, limits: Limits, now: float, *, drain_s: float = 0.0) -> Stop:
    """The stop for `reason`, beginning at `now` (monotonic seconds)."""
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
    """A stop under way: hands out its actions as they fall due, each once."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self._left = list(stop.steps)

    def due(self, now: float) -> list[Action]:
        """The actions that are due by `now` (monotonic seconds) and were not handed out before, in order."""
        number = sum(step.at <= now for step in self._left)
        due, self._left = self._left[:number], self._left[number:]
        return [step.action for step in due]

    @property
    def next_at(self) -> float:
        """When the next action is due; infinity if none is left."""
        return self._left[0].at if self._left else float("inf")

    def hurry(self, now: float) -> None:
        """Move what is left forward, so that the next action is due now."""
        shift = max(self.next_at - now, 0.0)
        self._left = [Step(step.at - shift, step.action) for step in self._left]
