"""Steps of a stop and their times."""

from __future__ import annotations

import pytest

from experiments.limits import Limits
from runs.supervisor.stops import Action, Ladder, Reason, plan

LIMITS = Limits(interrupt_after_s=2, cancel_grace_s=10, kill_grace_s=5)


def when(reason: Reason, action: Action) -> float:
    return next(step.at for step in plan(reason, "", LIMITS, 100.0, drain_s=20.0).steps if step.action is action)


def test_a_cancel_is_told_interrupted_terminated_and_killed() -> None:
    times = [when(Reason.CANCEL, a) for a in (Action.TELL_CANCEL, Action.INTERRUPT, Action.TERMINATE)]
    assert times == [100, 102, 112]
    assert when(Reason.CANCEL, Action.KILL) == pytest.approx(117.1)


def test_a_drain_gives_time_before_the_interrupt() -> None:
    assert (when(Reason.DRAIN, Action.TELL_STOPPING), when(Reason.DRAIN, Action.INTERRUPT)) == (100, 120)


def test_stacks_are_taken_before_a_kill_for_memory() -> None:
    assert when(Reason.MEMORY, Action.STACKS) < when(Reason.MEMORY, Action.KILL)


@pytest.mark.parametrize(
    ("under_way", "comes", "yields"),
    [
        (Reason.DRAIN, Reason.CANCEL, True),
        (Reason.CANCEL, Reason.DRAIN, False),
        (Reason.CANCEL, Reason.CANCEL, False),
        (Reason.CANCEL, Reason.TIMEOUT, False),
        (Reason.TIMEOUT, Reason.CANCEL, False),
        (Reason.CANCEL, Reason.MEMORY, True),
        (Reason.MEMORY, Reason.LEASE_LOST, True),
    ],
)
def test_the_more_urgent_stop_wins(under_way: Reason, comes: Reason, yields: bool) -> None:
    assert plan(under_way, "", LIMITS, 0.0).yields_to(comes) is yields


def test_each_action_is_handed_out_once() -> None:
    ladder = Ladder(plan(Reason.CANCEL, "", LIMITS, 100.0))
    assert ladder.due(100.0) == [Action.TELL_CANCEL]
    assert ladder.due(100.0) == []
    assert ladder.next_at == 102.0
    assert ladder.due(200.0)[0] is Action.INTERRUPT
    assert ladder.next_at == float("inf")


def test_hurry_makes_the_next_action_due_and_keeps_the_distances() -> None:
    ladder = Ladder(plan(Reason.DRAIN, "", LIMITS, 100.0, drain_s=20.0))
    ladder.due(100.0)
    ladder.hurry(105.0)
    assert ladder.due(105.0) == [Action.INTERRUPT]
    assert ladder.next_at == 115.0
