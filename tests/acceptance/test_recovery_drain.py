"""A worker that is asked to stop hands its runs back: none fails, none is lost, and nobody waits for a lease."""

from __future__ import annotations

import signal
import time

import pytest

from runs.models import Run
from runs.states import AttemptEnd, Status
from tests.recovery import PATIENCE_S, Team, attempts, ends, has_said, is_whole, own_lines, starts, summary, under_way
from tests.stack import Process, ended
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


def executing(run: Run, workers: list[Process]) -> int:
    """Return the worker of its newest attempt."""
    worker = attempts(run)[-1].worker
    assert worker is not None
    return [each.pid for each in workers].index(worker.pid)


def test_runs_of_a_stopping_worker_go_on_elsewhere_at_once(team: Team) -> None:
    workers = team.workers_at_once(2)
    run = under_way(team.counting())
    asked = time.monotonic()
    workers.pop(executing(run, workers)).stop()
    assert time.monotonic() - asked < 30
    (other,) = workers
    assert team.is_counted(ended(run, timeout_s=PATIENCE_S))
    first, second = attempts(run)
    assert (first.end, first.failure_kind, first.error) == (AttemptEnd.RELEASED, "", "Its worker is going down")
    assert second.worker is not None
    assert second.worker.pid == other.pid
    assert first.finished_at is not None
    assert (second.claimed_at - first.finished_at).total_seconds() < 10
    assert summary(run)["resumed_from"] > 0
    assert is_whole(first)


def test_an_experiment_is_told_and_keeps_a_last_checkpoint(team: Team) -> None:
    worker = team.worker()
    run = has_said(team.launch("stop_kindly"), "counting")
    worker.stop()
    team.worker()
    ended(run)
    assert ends(run) == ["released", "completed"]
    assert own_lines(run, 1)[-1] == f"kept {summary(run)['kept']}"


def test_a_run_that_ends_within_the_drain_completes(team: Team) -> None:
    worker = team.worker(ATHANOR_RUNS_DRAIN_S="30")
    run = under_way(team.counting(count=20), steps=1)
    worker.stop()
    assert team.is_counted(ended(run), count=20)
    assert ends(run) == ["completed"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT])
def test_a_second_signal_hurries(team: Team, second: signal.Signals) -> None:
    worker = team.worker(ATHANOR_RUNS_DRAIN_S="300")
    run = has_said(team.launch("hang"), "hanging")
    worker.send(signal.SIGTERM)
    wait_until(lambda: attempts(run)[0].worker.stopping_at, timeout_s=PATIENCE_S, what="the drain")  # type: ignore[union-attr]
    worker.send(second)
    assert worker.wait(PATIENCE_S) == 0
    run.refresh_from_db()
    assert (run.status, ends(run)) == (Status.PENDING, ["released"])


def test_a_cold_shutdown_hands_runs_back_at_once(team: Team) -> None:
    worker = team.worker(ATHANOR_RUNS_DRAIN_S="300")
    run = has_said(team.launch("hang"), "hanging")
    worker.send(signal.SIGQUIT)
    worker.wait(PATIENCE_S)
    run.refresh_from_db()
    assert (run.status, ends(run)) == (Status.PENDING, ["released"])


def test_a_rolling_restart_under_load_loses_nothing_and_shows_no_failed_run(team: Team) -> None:
    workers = team.workers_at_once(2, slots=3)
    runs = [team.counting(count=60) for _ in range(8)]
    under_way(runs[0])
    for worker in workers:
        worker.stop()
        worker.start()
    for run in runs:
        assert team.is_counted(ended(run, timeout_s=2 * PATIENCE_S), count=60)
        assert set(ends(run)) <= {"released", "completed"}
        assert starts(team.marks(run)) == [attempt.number for attempt in attempts(run)]
        assert all(is_whole(attempt) for attempt in attempts(run))
    assert any(len(ends(run)) > 1 for run in runs)
