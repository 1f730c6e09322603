"""Timeline of a run, from the times of its attempts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from runs.admin.timeline import timeline
from runs.models import Attempt, Run
from tests.output import EPOCH


def at(second: float) -> datetime:
    return EPOCH + timedelta(seconds=second)


def run(finished: float | None, **moments: float) -> Run:
    return Run(created_at=at(0), finished_at=None if finished is None else at(finished), **columns(moments))


def attempt(number: int, claimed: float, finished: float, **moments: float) -> Attempt:
    ends = {"claimed_at": at(claimed), "finished_at": at(finished)}
    return Attempt(number=number, **ends, **columns(moments))


def columns(moments: dict[str, float]) -> dict[str, Any]:
    return {f"{name}_at": at(second) for name, second in moments.items()}


def words(run: Run, *attempts: Attempt) -> list[str]:
    found = timeline(run, attempts)
    return [span.words for span in found.spans] if found else []


def test_a_run_waits_starts_and_runs() -> None:
    found = timeline(run(10), [attempt(1, 2, 10, started=3)])
    assert found is not None
    assert [(span.kind, span.x, span.width) for span in found.spans] == [
        ("waiting", "0.0", "200.0"), ("starting", "200.0", "100.0"), ("running", "300.0", "700.0"),
    ]  # fmt: skip
    assert found.totals == [("waiting", "2.0 s"), ("starting", "1.0 s"), ("running", "7.0 s")]


def test_the_time_after_a_cancel_is_told_apart() -> None:
    told = words(run(10, cancel_requested=6), attempt(1, 0, 10, started=0, terminated=8))
    assert told == ["attempt 1: running for 6.0 s", "attempt 1: stopping for 4.0 s"]


def test_each_attempt_has_its_own_stretches() -> None:
    told = words(run(10), attempt(1, 0, 4, started=1), attempt(2, 6, 10, started=6))
    assert told == [
        "attempt 1: starting for 1.0 s", "attempt 1: running for 3.0 s",
        "attempt 2: waiting for 2.0 s", "attempt 2: running for 4.0 s",
    ]  # fmt: skip


def test_a_run_that_was_cancelled_while_it_waited_only_waited() -> None:
    assert words(run(5, cancel_requested=5)) == ["attempt 1: waiting for 5.0 s"]


@pytest.mark.parametrize("finished", [None, 0])
def test_a_run_that_goes_on_or_took_no_time_has_none(finished: float | None) -> None:
    assert timeline(run(finished), []) is None
