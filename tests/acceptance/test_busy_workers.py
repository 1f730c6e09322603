"""A worker under load, or with less than it needs: it is slow, refuses to start, or waits; it loses no run."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from django.db import connection, transaction

from runs import wake
from runs.models import Attempt
from tests.locks import lock_held
from tests.meddling.apps import STARVED_S
from tests.recovery import LEASE_S, Team, attempts, ends, is_whole, under_way
from tests.stack import ended, frozen
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


def renewer(worker_pid: int) -> psutil.Process:
    (process,) = [p for p in psutil.Process(worker_pid).children() if "runs.worker.renewer" in " ".join(p.cmdline())]
    return process


def test_a_worker_whose_threads_stand_still_for_longer_than_a_lease_keeps_its_runs(team: Team, tmp_path: Path) -> None:
    assert STARVED_S > 2 * LEASE_S
    starve = tmp_path / "starve"
    team.worker(ATHANOR_APPS="tests.meddling", MEDDLING_STARVE=str(starve))
    runs = [team.counting(count=150), team.counting(count=150)]
    for run in runs:
        under_way(run)
    starve.touch()
    wait_until(starve.with_suffix(".done").exists, timeout_s=60, what="the end of the starving")
    for run in runs:
        assert team.is_counted(ended(run, timeout_s=60), count=150)
        assert ends(run) == ["completed"]
        assert is_whole(attempts(run)[0])


def test_a_killed_renewer_is_replaced_before_any_lease_ends(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting(count=80))
    first = renewer(worker.pid)
    first.kill()
    wait_until(lambda: not first.is_running(), what="its end")
    assert team.is_counted(ended(run), count=80)
    assert ends(run) == ["completed"]
    assert renewer(worker.pid).pid != first.pid


def test_a_renewer_ends_with_its_worker(team: Team) -> None:
    worker = team.worker()
    process = renewer(worker.pid)
    worker.kill()
    wait_until(lambda: not process.is_running(), timeout_s=5, what="the renewer's end")


def test_a_frozen_worker_is_not_renewed(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting(count=300))
    with frozen(worker):
        wait_until(lambda: ends(run)[0] == "lost", timeout_s=30, what="the end of its attempt")


def runs_locked() -> AbstractContextManager[None]:
    """Nobody can claim a run within the block: its table is locked, and on SQLite everything is."""
    is_postgres = connection.vendor == "postgresql"
    return lock_held("LOCK TABLE runs_run IN ACCESS EXCLUSIVE MODE" if is_postgres else "")


def test_a_slow_database_is_no_stalled_consumer(team: Team) -> None:
    worker = team.worker(slots=2, ATHANOR_RUNS_CONSUMER_STALLED_AFTER_S="2")
    with runs_locked():
        wake.workers(team.queue, 12)
        locked = threading.Event()
        threading.Timer(8.0, locked.set).start()
        wait_until(lambda: locked.is_set() or not worker.is_running, timeout_s=20, what="8 s")
    assert worker.is_running
    assert team.is_counted(ended(team.counting(count=3)), count=3)


@pytest.mark.skipif("config.getoption('--database') != 'postgresql'", reason="SQLite has no locks of rows")
def test_a_locked_attempt_ends_no_other_run(team: Team) -> None:
    team.worker()
    locked, free = under_way(team.counting(count=150)), under_way(team.counting(count=150))
    with transaction.atomic():
        Attempt.objects.select_for_update().get(run=locked)
        ended(free, timeout_s=60)
    assert (ends(free), team.is_counted(free, count=150)) == (["completed"], True)
    assert team.is_counted(ended(locked, timeout_s=60), count=150)


def start_worker(*arguments: str, files: int | None = None) -> subprocess.CompletedProcess[str]:
    """Start a worker that refuses to; its exit and what it says."""

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "athanor", "worker", *arguments],
        capture_output=True, text=True, timeout=60, preexec_fn=limit, env=dict(os.environ), check=False,
    )  # fmt: skip


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("queue", ["runs", "system"])
@pytest.mark.usefixtures("ground_of_module")
def test_every_pool_but_threads_is_refused_with_the_right_command(queue: str, pool: str) -> None:
    refused = start_worker("-P", pool, "-c", "3", "-Q", queue)
    assert refused.returncode == 1
    assert f"celery -A athanor worker -P threads -c 3 -Q {queue}" in refused.stderr


@pytest.mark.usefixtures("ground_of_module")
def test_more_slots_than_the_open_files_suffice_for_are_refused() -> None:
    refused = start_worker("-P", "threads", "-c", "100", "-Q", "runs", files=512)
    assert refused.returncode == 1
    assert "Start the worker with `-c 24` at most, or raise the limit" in refused.stderr
