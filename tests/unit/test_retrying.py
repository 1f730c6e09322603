"""Number of retries, and the pauses before them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.retry import RETRIED_KINDS, Retry, attempts_at_most, retries_in_force
from runs.outcomes import Outcome
from runs.retry_policy import choose
from runs.states import FailureKind, Status

ERROR = Outcome(Status.FAILED, FailureKind.ERROR, "ValueError: no")
LOST = Outcome(Status.FAILED, FailureKind.LOST, "its worker vanished")
HANDED_BACK = Outcome(Status.PENDING)


def test_the_kinds_are_those_of_failures_but_config() -> None:
    assert {*RETRIED_KINDS, FailureKind.CONFIG.value} == set(FailureKind.values)


def test_pauses_grow_up_to_their_limit() -> None:
    retry = Retry(times=9, backoff_s=10, factor=3, max_backoff_s=100, jitter=0)
    assert [retry.pause_s(n, 0.5) for n in (1, 2, 3, 4, 1000)] == [10, 30, 90, 100, 100]


def test_chance_takes_off_or_adds_a_share() -> None:
    retry = Retry(times=1, backoff_s=10, jitter=0.2)
    assert [retry.pause_s(1, chance) for chance in (0.0, 0.5, 1.0)] == pytest.approx([8, 10, 12])


@given(
    backoff_s=st.floats(0, 1e12),
    factor=st.floats(1, 100),
    most=st.floats(0, 1e9),
    retry=st.integers(1, 10**6),
    chance=st.floats(0, 1),
)
def test_a_pause_is_never_negative_nor_beyond_its_limit(
    backoff_s: float, factor: float, most: float, retry: int, chance: float
) -> None:
    policy = Retry(times=1, backoff_s=backoff_s, factor=factor, max_backoff_s=most, jitter=1)
    assert 0 <= policy.pause_s(retry, chance) <= 2 * most


def test_by_default_lost_runs_are_tried_twice_more_and_nothing_else() -> None:
    assert {kind: retry["times"] for kind, retry in retries_in_force({}).items()} == {"lost": 2}


@pytest.mark.parametrize(
    ("declared", "overrides", "more", "times"),
    [
        ({"error": Retry(times=3)}, {}, {}, {"lost": 2, "error": 3}),
        ({"error": Retry(times=3)}, {"error": 0, "memory": {"times": 1}}, {}, {"lost": 2, "error": 0, "memory": 1}),
        ({}, {}, {"on_lost": "fail"}, {"lost": 0}),
        ({}, {}, {"max_attempts": 5}, {"lost": 4}),
        ({"lost": Retry(times=7)}, {}, {"on_lost": "fail"}, {"lost": 7}),
        ({}, {"lost": 1}, {"max_attempts": 9}, {"lost": 1}),
    ],
)
def test_what_is_said_last_counts(declared: dict, overrides: dict, more: dict, times: dict) -> None:  # type: ignore[type-arg]
    found = retries_in_force(declared, overrides, **more)
    assert {kind: retry["times"] for kind, retry in found.items()} == times
    assert attempts_at_most(found) == 1 + sum(times.values())


@pytest.mark.parametrize("wrong", [{"config": 1}, {"error": -1}, {"error": {"time": 1}}, {"error": True}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        retries_in_force({}, wrong)


@pytest.mark.parametrize(
    ("ending", "cancel_by", "times", "before", "status", "again"),
    [
        (ERROR, None, 0, 0, Status.FAILED, False),
        (ERROR, None, 2, 1, Status.FAILED, True),
        (ERROR, None, 2, 2, Status.FAILED, False),
        (ERROR, "ada", 2, 0, Status.FAILED, False),
        (LOST, None, 2, 0, Status.FAILED, True),
        (LOST, None, 2, 2, Status.FAILED, False),
        (LOST, "ada", 2, 0, Status.CANCELLED, False),
        (HANDED_BACK, None, 0, 0, Status.PENDING, True),
        (HANDED_BACK, "", 0, 0, Status.CANCELLED, False),
        (Outcome(Status.COMPLETED), None, 5, 0, Status.COMPLETED, False),
        (Outcome(Status.CANCELLED), None, 5, 0, Status.CANCELLED, False),
    ],
)
def test_whether_there_is_another_attempt(
    ending: Outcome, cancel_by: str | None, times: int, before: int, status: Status, again: bool
) -> None:
    decision = choose(ending, cancel_by, Retry(times=times), before)
    assert (decision.outcome.status, decision.again) == (status, again)


def test_the_pause_is_that_of_the_retry_or_what_the_run_asks_for() -> None:
    policy = Retry(times=3, backoff_s=10, factor=2, jitter=0)
    assert choose(ERROR, None, policy, before=1).pause_s == 20
    assert choose(replace(HANDED_BACK, retry_after_s=7), None, policy, before=1).pause_s == 7
