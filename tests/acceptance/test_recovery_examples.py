"""Shipped examples that are killed three times end with the result of an undisturbed run."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from runs import services
from runs.models import Run
from runs.states import ResultKind, Status
from tests.recovery import PATIENCE_S, Team, attempts, is_whole, own_lines, under_way
from tests.stack import ended

pytestmark = pytest.mark.acceptance

KILLS = 3
SEED = 7


def killed_on_the_way(run: Run) -> Run:
    """Return the ended run, after it was killed in each of its first attempts once it had a checkpoint."""
    for number in range(1, KILLS + 1):
        under_way(run, attempt=number, steps=1)
        pid = attempts(run)[-1].child_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    return ended(run, timeout_s=2 * PATIENCE_S)


def launch(team: Team, experiment: str, **configuration: Any) -> Run:
    return services.launch(
        experiment, configuration=configuration, seed=SEED, queue=team.queue, retries={"crashed": KILLS}
    )


def outcome(run: Run) -> tuple[Any, ...]:
    """Return the summary, the results of the last attempt, and every point of its metrics of all attempts."""
    assert (run.status, run.error) == (Status.COMPLETED, "")
    results = run.results.filter(kind=ResultKind.RESULT, attempt=run.attempt)
    points = run.results.filter(kind=ResultKind.METRIC).order_by("key", "step").values_list("key", "step", "number")
    return run.summary, list(results.values_list("key", "value")), sorted(set(points))


@pytest.mark.parametrize(
    ("experiment", "configuration"),
    [
        ("word_count", {"chunk_lines": 2, "pause_s": 0.05}),
        ("digits", {"epochs": 120, "hidden_units": 16, "shift": 0}),
    ],
)
def test_a_run_that_was_killed_three_times_ends_like_one_that_was_not(
    team: Team, experiment: str, configuration: dict[str, Any]
) -> None:
    team.worker()
    undisturbed = launch(team, experiment, **configuration)
    killed = killed_on_the_way(launch(team, experiment, **configuration))
    assert outcome(killed) == outcome(ended(undisturbed, timeout_s=2 * PATIENCE_S))
    first, *later = attempts(killed)
    assert (first.restored, len(later)) == (None, KILLS)
    assert all(attempt.restored is not None for attempt in later)
    assert all(is_whole(attempt) for attempt in (first, *later))


def test_a_retry_goes_on_and_a_rerun_starts_clean(team: Team) -> None:
    team.worker()
    run = ended(team.counting(count=5, pause_s=0, sync=True, die_at={1: 3}, die_by="raise"))
    assert run.status == Status.FAILED
    retried, rerun = ended(services.retry(run.pk)), ended(services.rerun(run.pk))
    assert attempts(retried)[0].restored == {"attempt": 0, "number": 0}
    assert own_lines(retried, 1) == ["dying by raise"], "it goes on where the other one died"
    assert attempts(rerun)[0].restored is None
    assert own_lines(rerun, 1) == own_lines(run, 1)
