"""Every way that a child can end, and what the run then is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from experiments.limits import Limits
from runs.forkserver.client import Exit, Fate
from runs.lines.records import End
from runs.states import AttemptEnd, FailureKind, Status
from runs.supervisor import stops
from runs.supervisor.outcome import Observation, outcome_of, storable
from runs.supervisor.stops import Action, Reason

CLEAN = Exit(0, None, 1.0, 1, 0)
SEGFAULT = Exit(None, 11, 1.0, 1, 0)
KILLED = Exit(None, 9, 1.0, 1, 0)


def seen(end: End | None = None, exit_: Exit | None = CLEAN, reason: Reason | None = None, **more: Any) -> Observation:
    stop = stops.plan(reason, f"because of {reason}", Limits(), 0.0) if reason else None
    return Observation(exit_, end, **{"started": True, "stop": stop} | more)


@pytest.mark.parametrize(
    ("end", "exit_", "status", "kind"),
    [
        ({"outcome": "returned", "summary": {"a": 1}}, CLEAN, Status.COMPLETED, None),
        ({"outcome": "returned"}, SEGFAULT, Status.COMPLETED, None),
        ({"outcome": "exited", "exit_code": 0}, CLEAN, Status.COMPLETED, None),
        ({"outcome": "exited", "exit_code": 3, "error": "sys.exit(3)"}, CLEAN, Status.FAILED, FailureKind.ERROR),
        ({"outcome": "raised", "error": "ValueError: no"}, CLEAN, Status.FAILED, FailureKind.ERROR),
        ({"outcome": "failed", "error": "no data"}, CLEAN, Status.FAILED, FailureKind.ERROR),
        ({"outcome": "config", "error": "batches"}, CLEAN, Status.FAILED, FailureKind.CONFIG),
        ({"outcome": "start", "error": "unknown"}, CLEAN, Status.FAILED, FailureKind.START),
        ({"outcome": "cancelled"}, CLEAN, Status.FAILED, FailureKind.ERROR),
        ({"outcome": "something new"}, CLEAN, Status.FAILED, FailureKind.ERROR),
        (None, SEGFAULT, Status.FAILED, FailureKind.CRASHED),
        (None, CLEAN, Status.FAILED, FailureKind.CRASHED),
    ],
)
def test_an_end_of_its_own(end: End | None, exit_: Exit, status: Status, kind: FailureKind | None) -> None:
    found = outcome_of(seen(end, exit_))
    assert (found.status, found.failure_kind) == (status, kind)


def test_a_process_that_dies_before_the_experiment_began_could_not_be_started() -> None:
    assert outcome_of(seen(None, SEGFAULT, started=False)).failure_kind == FailureKind.START


def test_a_crash_names_the_signal() -> None:
    assert "SIGSEGV" in outcome_of(seen(None, SEGFAULT)).error


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.TIMEOUT, FailureKind.TIMEOUT),
        (Reason.STALLED, FailureKind.STALLED),
        (Reason.MEMORY, FailureKind.MEMORY),
        (Reason.START_TIMEOUT, FailureKind.START),
    ],
)
def test_a_met_limit_is_why_it_failed(reason: Reason, kind: FailureKind) -> None:
    found = outcome_of(seen(None, KILLED, reason, steps_taken=frozenset({Action.KILL})))
    assert (found.status, found.failure_kind) == (Status.FAILED, kind)
    assert found.error == found.ended_by == f"because of {reason}"


@pytest.mark.parametrize(
    "more",
    [
        {"end": {"outcome": "cancelled"}},
        {"end": {"outcome": "returned"}, "cancel_seen": True},
        {"end": {"outcome": "raised", "error": "on the way out"}, "steps_taken": frozenset({Action.INTERRUPT})},
        {"exit_": KILLED, "steps_taken": frozenset({Action.INTERRUPT, Action.TERMINATE, Action.KILL})},
    ],
)
def test_what_a_cancel_ended_is_cancelled(more: dict[str, Any]) -> None:
    assert outcome_of(seen(reason=Reason.CANCEL, **more)).status == Status.CANCELLED


def test_a_run_that_returned_before_it_noticed_the_cancel_is_completed() -> None:
    found = outcome_of(seen({"outcome": "returned", "summary": 1}, CLEAN, Reason.CANCEL))
    assert (found.status, found.summary) == (Status.COMPLETED, 1)


def test_a_run_that_crashed_before_anything_was_done_to_it_has_crashed() -> None:
    assert outcome_of(seen(None, SEGFAULT, Reason.CANCEL)).failure_kind == FailureKind.CRASHED


def test_a_drained_run_is_handed_back() -> None:
    found = outcome_of(seen({"outcome": "cancelled"}, CLEAN, Reason.DRAIN, steps_taken=frozenset({Action.INTERRUPT})))
    assert (found.status, found.attempt_end) == (Status.PENDING, AttemptEnd.RELEASED)


def test_a_drained_run_that_finished_in_time_is_completed() -> None:
    assert outcome_of(seen({"outcome": "returned"}, CLEAN, Reason.DRAIN)).status == Status.COMPLETED


def test_a_run_whose_lease_was_lost_is_lost() -> None:
    found = outcome_of(seen(None, KILLED, Reason.LEASE_LOST, steps_taken=frozenset({Action.KILL})))
    assert (found.failure_kind, found.attempt_end) == (FailureKind.LOST, AttemptEnd.LOST)


@pytest.mark.parametrize(
    ("exit_", "excused"),
    [
        (Exit(None, 9, 0.0, 0, 0, Fate.SERVER), False),
        (Exit(None, 9, 0.0, 0, 0, Fate.SERVER, company=2), True),
        (Exit(None, 9, 0.0, 0, 0, Fate.LEASE, company=1), True),
        (Exit(None, None, 0.0, 0, 0, Fate.SERVER), True),
    ],
)
def test_a_loss_is_excused_unless_the_run_was_alone_and_executed(exit_: Exit, excused: bool) -> None:
    ending = outcome_of(seen(None, exit_))
    assert (ending.failure_kind, ending.excused) == (FailureKind.LOST, excused)


@pytest.mark.parametrize("fate", [Fate.LEASE, Fate.SERVER])
def test_a_child_that_was_killed_for_what_is_not_its_own_doing_is_lost_not_crashed(fate: Fate) -> None:
    found = outcome_of(seen(None, dataclasses.replace(KILLED, fate=fate)))
    assert (found.status, found.failure_kind) == (Status.FAILED, FailureKind.LOST)


def test_a_child_that_said_its_last_word_before_the_lease_ended_has_ended_by_itself() -> None:
    found = outcome_of(seen({"outcome": "returned"}, dataclasses.replace(KILLED, fate=Fate.LEASE)))
    assert found.status == Status.COMPLETED


def test_retry_later_hands_back_with_a_delay() -> None:
    found = outcome_of(seen({"outcome": "retry_later", "after_s": 30.0}))
    assert (found.attempt_end, found.retry_after_s) == (AttemptEnd.RELEASED, 30.0)


@pytest.mark.parametrize(("status", "kind"), [(CLEAN, FailureKind.ERROR), (SEGFAULT, FailureKind.CRASHED)])
def test_a_report_that_could_not_be_read_fails_a_run_that_ended_well(status: Exit, kind: FailureKind) -> None:
    ending = outcome_of(seen(None, status, end_refusal="nested more than 200 deep"))
    assert ending.failure_kind == kind
    assert ("nested more than 200 deep" in ending.error) is (status is CLEAN)


def test_an_end_that_the_database_refuses_keeps_its_kind_and_loses_what_it_holds() -> None:
    ending = outcome_of(seen({"outcome": "raised", "error": "ValueError: \0\ud800", "traceback": "x" * 10**6}))
    kept = storable(ending, "no such text")
    assert (kept.status, kept.failure_kind, kept.summary) == (Status.FAILED, FailureKind.ERROR, None)
    assert kept.error == "Its end could not be stored as it was (no such text): ValueError: ␀\\ud800"
    assert len(kept.traceback) < 10**5


def test_a_result_that_the_database_refuses_fails_the_run() -> None:
    kept = storable(outcome_of(seen({"outcome": "returned", "summary": {"a": 1}})), "too long")
    assert (kept.status, kept.failure_kind, kept.summary) == (Status.FAILED, FailureKind.ERROR, None)
