"""Decisions about slots, policy by policy, and what holds for all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.schedules.policy import Active, Due, Plan, Policy, ScheduleSnapshot, decide
from runs.states import RAN, CatchUp, Overlap, SlotKind, SlotState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUSY = (Active(7, NOW - timedelta(hours=1)),)


def due(ago_s: float, kind: SlotKind = SlotKind.TIMETABLE) -> Due:
    return Due(NOW - timedelta(seconds=ago_s), NOW - timedelta(seconds=ago_s), kind)


def plan(
    *ago_s: float,
    overlap: Overlap = Overlap.SKIP,
    catch_up: CatchUp = CatchUp.LATEST,
    waiting_max: int = 3,
    **facts: Any,
) -> Plan:
    """Return the plan for slots that were due that many seconds ago."""
    policy = Policy(overlap, catch_up, timedelta(hours=1), timedelta(seconds=30), waiting_max)
    return decide(ScheduleSnapshot(policy=policy, now=NOW, due=[due(each) for each in ago_s], **facts))


def entered(found: Plan) -> list[str]:
    return [decision.state.value for decision in found.entered]


def resolved(found: Plan) -> list[str]:
    return [decision.state.value for decision in found.resolved]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (Overlap.SKIP, "skipped"),
        (Overlap.QUEUE_ONE, "waiting"),
        (Overlap.QUEUE_ALL, "waiting"),
        (Overlap.CANCEL, "waiting"),
        (Overlap.ALLOW, "launched"),
    ],
)
def test_a_slot_that_meets_a_running_one(overlap: Overlap, expected: str) -> None:
    found = plan(0, overlap=overlap, active=BUSY)
    assert entered(found) == [expected]
    assert found.cancelled == ([7] if overlap == Overlap.CANCEL else [])
    assert expected == "launched" or "Run 7 for 2026-03-01 11:00 UTC was still active." in found.entered[0].reason


@pytest.mark.parametrize("overlap", list(Overlap))
def test_a_slot_that_meets_nothing_is_launched(overlap: Overlap) -> None:
    assert entered(plan(0, overlap=overlap)) == ["launched"]


def test_of_several_that_run_the_reason_names_one_and_counts_the_others() -> None:
    found = plan(1, active=[Active(7, None), Active(8, None), Active(9, None)])
    assert found.entered[0].reason == "Run 7 and 2 more were still active."


def test_one_slot_waits_and_the_next_is_skipped() -> None:
    found = plan(0, overlap=Overlap.QUEUE_ONE, active=BUSY, waiting=[due(60)])
    assert (entered(found), resolved(found)) == (["skipped"], [])
    assert "already waiting" in found.entered[0].reason


def test_all_slots_wait_up_to_a_limit() -> None:
    assert entered(plan(3, 2, 1, 0, overlap=Overlap.QUEUE_ALL, active=BUSY)) == ["waiting"] * 3 + ["skipped"]


def test_what_waited_goes_first_when_the_running_one_has_ended() -> None:
    found = plan(0, overlap=Overlap.QUEUE_ALL, waiting=[due(120), due(60)])
    assert (resolved(found), entered(found)) == (["launched"], ["waiting"])
    assert found.resolved[0].slot == due(120).slot


def test_the_newest_slot_supersedes_those_that_wait_for_the_cancelled_one() -> None:
    found = plan(0, overlap=Overlap.CANCEL, active=BUSY, waiting=[due(60)])
    assert (resolved(found), entered(found), found.cancelled) == (["skipped"], ["waiting"], [7])


def test_of_several_at_once_only_the_last_is_launched_if_each_would_cancel_the_one_before() -> None:
    assert entered(plan(2, 1, 0, overlap=Overlap.CANCEL)) == ["skipped", "skipped", "launched"]


def test_a_backfill_does_not_stand_in_the_timetables_way() -> None:
    found = plan(0, waiting=[due(9000, SlotKind.BACKFILL)])
    assert (entered(found), resolved(found)) == (["launched"], [])
    assert resolved(plan(waiting=[due(9000, SlotKind.BACKFILL)])) == ["launched"]


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.NONE, ["missed", "missed", "missed"]),
        (CatchUp.LATEST, ["missed", "missed", "caught_up"]),
        (CatchUp.ALL, ["missed", "caught_up", "caught_up"]),
    ],
)
def test_catching_up_after_a_downtime(catch_up: CatchUp, expected: list[str]) -> None:
    found = plan(4000, 1200, 600, catch_up=catch_up, overlap=Overlap.ALLOW)
    assert entered(found) == expected
    assert all(decision.reason for decision in found.entered)


def test_a_slot_in_time_makes_catching_up_the_latest_needless() -> None:
    assert entered(plan(1200, 600, 0)) == ["missed", "missed", "launched"]


def test_the_latest_is_not_yet_known_while_more_slots_are_due() -> None:
    assert entered(plan(1200, 600, has_more=True)) == ["missed", "missed"]


def test_a_little_late_is_in_time() -> None:
    assert entered(plan(29, catch_up=CatchUp.NONE)) == ["launched"]


def test_overlap_holds_for_what_is_caught_up_too() -> None:
    assert entered(plan(1200, 600, catch_up=CatchUp.ALL)) == ["caught_up", "skipped"]
    assert entered(plan(1200, 600, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE_ALL)) == ["caught_up", "waiting"]


def test_nothing_is_launched_while_paused_and_what_waits_gives_up() -> None:
    found = plan(600, 0, paused="Paused by ada.", waiting=[due(60)], overlap=Overlap.QUEUE_ALL)
    assert (entered(found), resolved(found)) == (["paused", "paused"], ["paused"])


def test_by_hand_it_is_launched_though_it_is_paused() -> None:
    policy = Policy(Overlap.SKIP, CatchUp.LATEST, timedelta(hours=1), timedelta(seconds=30), 3)
    found = decide(ScheduleSnapshot(policy=policy, now=NOW, due=[due(0, SlotKind.MANUAL)], paused="Paused by ada."))
    assert entered(found) == ["launched"]


def test_what_cannot_be_launched_is_refused_with_the_reason() -> None:
    found = plan(1, 0, refusal="There is no experiment 'gone'.", overlap=Overlap.ALLOW, waiting=[due(60)])
    assert (entered(found), resolved(found)) == (["refused", "refused"], ["refused"])
    assert found.entered[0].reason == "There is no experiment 'gone'."


kinds = st.sampled_from([SlotKind.TIMETABLE, SlotKind.LATE, SlotKind.BACKFILL, SlotKind.MANUAL])


@st.composite
def facts(draw: st.DrawFn) -> ScheduleSnapshot:
    seconds = sorted(draw(st.sets(st.integers(0, 9000), max_size=8)), reverse=True)
    waiting = sorted(draw(st.sets(st.integers(9001, 20000), max_size=5)), reverse=True)
    return ScheduleSnapshot(
        policy=Policy(
            draw(st.sampled_from(Overlap)), draw(st.sampled_from(CatchUp)), timedelta(hours=1), timedelta(seconds=30), 3
        ),
        now=NOW,
        due=[due(each) for each in seconds],
        has_more=draw(st.booleans()),
        waiting=[due(each, draw(kinds)) for each in waiting],
        active=draw(st.sampled_from([(), BUSY, (*BUSY, Active(8, None))])),
        paused=draw(st.sampled_from(["", "Paused by ada."])),
        refusal=draw(st.sampled_from(["", "It is gone."])),
    )


@given(facts())
def test_every_slot_is_decided_once_and_whatever_does_not_run_says_why(given_facts: ScheduleSnapshot) -> None:
    found = decide(given_facts)
    assert [decision.slot for decision in found.entered] == [each.slot for each in given_facts.due]
    resolved_slots = [decision.slot for decision in found.resolved]
    assert len(resolved_slots) == len(set(resolved_slots))
    assert set(resolved_slots) <= {each.slot for each in given_facts.waiting}
    assert all(decision.reason or decision.state in RAN for decision in (*found.entered, *found.resolved))
    assert SlotState.WAITING not in {decision.state for decision in found.resolved}


@given(facts())
def test_unless_it_is_allowed_no_two_run_at_once(given_facts: ScheduleSnapshot) -> None:
    found = decide(given_facts)
    launched = [decision for decision in (*found.entered, *found.resolved) if decision.state in RAN]
    if given_facts.policy.overlap != Overlap.ALLOW:
        assert len(launched) <= (0 if given_facts.active else 1)
    if given_facts.refusal or given_facts.paused:
        assert not launched
