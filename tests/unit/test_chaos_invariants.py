"""Failures of each invariant of one run, and harmless differences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from athanor.chaos import invariants
from athanor.chaos.invariants import Evidence
from athanor.chaos.journal import Execution
from athanor.chaos.probe import expected, message
from runs.models import Attempt, Run
from runs.states import AttemptEnd, Source, Status

STEPS = 3
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lines(*numbers: int) -> list[tuple[int, str, str]]:
    """Lines of the run itself, with seqs as they come."""
    return [(seq, str(Source.LOG), message(number, 0)) for seq, number in enumerate(numbers, 1)]


def attempt(
    number: int, *, end: AttemptEnd = AttemptEnd.COMPLETED, emitted: int | None = None, **values: Any
) -> Attempt:
    results = None if emitted is None else STEPS
    return Attempt(number=number, end=end, finished_at=NOW, lines_emitted=emitted, results_emitted=results, **values)


@pytest.fixture
def whole() -> Evidence:
    """Return the evidence of a correct run: three steps, one line each, in one attempt."""
    run = Run(pk=1, status=Status.COMPLETED, seed=5, attempt=1, configuration={"steps": STEPS})
    run.summary = expected(5, STEPS)
    counts: dict[str, Any] = {"lines_min": 3, "lines_max": 3, "results_min": 3, "results_max": 3}
    execution = Execution(1, begun_at=[10.0], last_at=12.0, kept=3, **counts)
    stored: dict[str, Any] = {"lines_stored": [[1, 3]], "results_stored": [[1, 3]]}
    points: list[tuple[int, int | None]] = [(seq, seq - 1) for seq in range(1, STEPS + 1)]
    return Evidence(run, [attempt(1, emitted=3, **stored)], {1: execution}, {1: lines(1, 2, 3)}, {1: points})


def broken(evidence: Evidence) -> set[str]:
    return {name for name, _, check in invariants.PER_RUN if list(check(evidence))}


def add_attempt(evidence: Evidence, **values: Any) -> Execution:
    """A second attempt that went on from the end of the first; what it wrote down, to be spoilt."""
    evidence.attempts.append(attempt(2))
    execution = Execution(2, **{"begun_at": [13.0], "last_at": 14.0, "restored": STEPS, **values})
    evidence.executions[2] = execution
    return execution


def test_nothing_is_broken_in_what_went_well(whole: Evidence) -> None:
    assert broken(whole) == set()
    add_attempt(whole)
    assert broken(whole) == set()


def test_a_run_without_an_end_is_noticed(whole: Evidence) -> None:
    whole.run.status = Status.RUNNING
    assert broken(whole) == {"ended"}


def test_a_failure_and_an_unrequested_cancel_are_noticed(whole: Evidence) -> None:
    whole.run.status = Status.FAILED
    assert broken(whole) == {"ended_rightly"}
    whole.run.status = Status.CANCELLED
    assert broken(whole) == {"ended_rightly"}
    whole.run.cancel_requested_by = "chaos"
    assert broken(whole) == set()


@pytest.mark.parametrize(
    "values", [{"overlaps": 1}, {"begun_at": [11.0]}, {"begun_at": [13.0, 13.5]}], ids=["lock", "clock", "twice"]
)
def test_two_live_executions_are_noticed(whole: Evidence, values: dict[str, Any]) -> None:
    add_attempt(whole, **values)
    assert broken(whole) == {"one_execution"}


def test_an_execution_that_the_database_does_not_know_is_noticed(whole: Evidence) -> None:
    add_attempt(whole)
    whole.attempts.pop()
    assert broken(whole) == {"one_execution"}


@pytest.mark.parametrize("found", [lines(1, 3, 2), lines(1, 2, 2), lines(1, 2, 4)], ids=["order", "doubled", "gap"])
def test_lines_out_of_order_doubled_or_behind_a_gap_are_noticed(whole: Evidence, found: Any) -> None:
    whole.lines[1] = found
    assert "in_order" in broken(whole)


def test_a_gap_of_seqs_is_noticed(whole: Evidence) -> None:
    whole.lines[1] = [(1, "log", message(1, 0)), (3, "log", message(2, 0)), (4, "log", message(3, 0))]
    assert "in_order" in broken(whole)


def test_lines_that_were_said_and_are_missing_are_noticed_where_the_worker_lived(whole: Evidence) -> None:
    whole.lines[1] = lines(1, 2)
    assert {"complete", "counted"} <= broken(whole)


def test_the_last_lines_of_a_killed_worker_are_not_missed(whole: Evidence) -> None:
    add_attempt(whole)
    whole.attempts[0] = attempt(1, end=AttemptEnd.LOST, lines_stored=[[1, 2]], results_stored=[[1, 3]])
    whole.lines[1] = lines(1, 2)
    assert broken(whole) == set()


def test_another_result_and_a_step_without_one_are_noticed(whole: Evidence) -> None:
    whole.run.summary = expected(6, STEPS)
    assert broken(whole) == {"same_result"}
    whole.run.summary = expected(5, STEPS)
    whole.results[1] = whole.results[1][:2]
    assert "same_result" in broken(whole)


def test_a_lost_checkpoint_is_noticed(whole: Evidence) -> None:
    add_attempt(whole, restored=2)
    assert broken(whole) == {"checkpoints"}
