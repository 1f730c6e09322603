"""Several workers with names of their own share short runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import spread
from runs import services
from runs.models import Attempt
from runs.states import Status
from tests.stack import Stack, ended

pytestmark = pytest.mark.acceptance

WORKERS, RUNS = 3, 60
SMALLEST_SHARE = 5


def test_each_short_run_is_executed_once_and_each_worker_gets_a_share(ground_of_module: Path) -> None:
    with Stack(ground_of_module) as stack:
        with stack.at_once():
            for number in range(WORKERS):
                stack.worker(f"sharing{number}", slots=2, queues="sharing")
        configuration = {"behaviour": "log_many", "count": 1}
        runs = services.launch_many("scripted", [configuration] * RUNS, queue="sharing")
        assert {ended(run, timeout_s=90).status for run in runs} == {Status.COMPLETED}
    attempts = Attempt.objects.filter(run__in=runs)
    assert Counter(attempts.values_list("run_id", flat=True)) == Counter(run.pk for run in runs)
    executed, once = spread.attempts_of([run.pk for run in runs])
    counts = spread.shares(executed)
    assert once == RUNS
    assert len(counts) == WORKERS
    assert min(counts) >= SMALLEST_SHARE
