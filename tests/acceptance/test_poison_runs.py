"""A run that kills the processes above it at each attempt: it fails in the end, and its neighbours do not."""

from __future__ import annotations

import pytest

from runs.models import Run
from runs.states import FailureKind
from tests.recovery import Team, attempts
from tests.stack import Process
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance

SHORT = {"ATHANOR_RUNS_LOST_PAUSE_S": "0.5", "ATHANOR_RUNS_LOST_ALONE_S": "1", "ATHANOR_RUNS_LOST_WAIT_S": "60"}


def all_ended(worker: Process, runs: list[Run]) -> bool:
    """Return whether all runs are final. Restart the worker if it was killed, as `up` does."""
    if not worker.is_running:
        worker.start()
    for run in runs:
        run.refresh_from_db()
    return all(run.is_final for run in runs)


@pytest.mark.parametrize(("victim", "levels"), [("fork server", 1), ("keeper", 2), ("worker", 3)])
def test_a_run_that_kills_what_it_depends_on_fails_alone(team: Team, victim: str, levels: int) -> None:
    worker = team.worker(slots=4, **SHORT)
    innocent = [team.counting(count=30) for _ in range(2)]
    poison = team.launch("kill_above", count=levels, pause_s=0.5)

    wait_until(lambda: all_ended(worker, [poison, *innocent]), timeout_s=90, what="the end of all three")

    assert all(team.is_counted(run, count=30) for run in innocent)
    assert poison.failure_kind == FailureKind.LOST
    counted = [attempt for attempt in attempts(poison) if not attempt.excused]
    assert len(counted) == poison.max_attempts
