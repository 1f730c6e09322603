"""Messages are lost and doubled, beats and system workers killed and doubled, versions differ."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from django.db import connection

from runs import tasks, wake
from runs.models import Run, Worker
from runs.worker.watchdog import STALLED_STATUS
from tests.recovery import (
    PATIENCE_S,
    Team,
    attempts,
    ends,
    has_said,
    is_whole,
    own_lines,
    starts,
    taken_over,
    under_way,
)
from tests.servers import RedisServer
from tests.stack import Stack, ended
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


def test_a_message_delivered_twice_is_dropped_and_counted(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting(count=30))
    for _ in range(3):
        wake.workers(team.queue)
    assert team.is_counted(ended(run), count=30)
    assert starts(team.marks(run)) == [1]
    row = Worker.objects.get(pid=worker.pid)
    try:
        wait_until(lambda: row.refresh_from_db() or row.idle_wakes >= 3, what="the counts", timeout_s=30)  # type: ignore[func-returns-value]  # it returns None
    except AssertionError as error:
        about = f"claims {row.claims}, idle wakes {row.idle_wakes}, messages left {wake.waiting(team.queue)}"
        raise AssertionError(f"{about}\n{worker.log.read_text()[-3000:]}") from error
    assert row.claims == 1


def test_a_lost_message_is_sent_again(team: Team, module_redis: RedisServer) -> None:
    runs = [team.counting(count=3, pause_s=0) for _ in range(5)]
    with module_redis.client() as client:
        client.delete(f"athanor:broker:{team.queue}")
    team.worker()
    assert all(team.is_counted(ended(run), count=3) for run in runs)


def test_a_killed_system_worker_costs_no_line(team: Team, hasty_stack: Stack) -> None:
    (system,) = [process for process in hasty_stack.processes if process.name == "system1"]
    team.worker()
    run = under_way(team.counting(count=30))
    system.kill()
    try:
        assert team.is_counted(ended(run), count=30)
        assert is_whole(attempts(run)[0])
    finally:
        system.start()
    assert team.is_counted(ended(team.counting(count=3)), count=3)


def test_a_killed_beat_costs_no_line_and_its_successor_goes_on(team: Team, hasty_stack: Stack) -> None:
    (beat,) = [process for process in hasty_stack.processes if process.name == "beat1"]
    worker = team.worker()
    run = under_way(team.counting())
    beat.kill()
    worker.kill()
    beat.start()
    worker.start()
    assert team.is_counted(ended(run))


def test_two_beats_and_two_reconcilers_give_a_lost_run_one_next_attempt(team: Team, hasty_stack: Stack) -> None:
    with hasty_stack.at_once():
        second = [hasty_stack.beat("beat2"), hasty_stack.system("system2")]
        workers = [team.worker(), team.worker()]
    try:
        runs = [under_way(team.counting()) for _ in range(4)]
        supervisor = attempts(runs[0])[0].worker
        next(worker for worker in workers if supervisor is not None and worker.pid == supervisor.pid).kill()
        for run in runs:
            assert team.is_counted(ended(run, timeout_s=PATIENCE_S))
            assert starts(team.marks(run)) == [attempt.number for attempt in attempts(run)]
            assert ends(run) in (["completed"], ["lost", "completed"])
        assert any(len(ends(run)) == 2 for run in runs)
    finally:
        for process in second:
            process.kill()
            hasty_stack.processes.remove(process)


def test_messages_and_tables_of_another_version_are_understood(team: Team) -> None:
    """Code of one version meets messages with more in them, and tables that a newer one has extended already."""
    for table in ("runs_run", "runs_attempt", "runs_worker", "runs_checkpoint"):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN of_tomorrow varchar(10) DEFAULT 'new' NOT NULL")
    try:
        run = team.counting(count=5, pause_s=0)
        Run.objects.filter(pk=run.pk).update(
            limits={**run.limits, "of_tomorrow": 1}, retries={"lost": {"times": 1, "of_tomorrow": 1}, "of_tomorrow": {}}
        )
        tasks.execute.apply_async(("a run id",), {"of_tomorrow": True}, queue=team.queue)
        team.worker()
        assert team.is_counted(ended(run), count=5)
    finally:
        for table in ("runs_run", "runs_attempt", "runs_worker", "runs_checkpoint"):
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} DROP COLUMN of_tomorrow")


def test_a_worker_that_takes_no_work_ends_itself_and_hands_its_runs_back(team: Team, tmp_path: Path) -> None:
    environ = {
        "ATHANOR_APPS": "tests.meddling",
        "MEDDLING_STALL": str(tmp_path / "stall"),
        "ATHANOR_RUNS_CONSUMER_STALLED_AFTER_S": "3",
    }
    worker = team.worker(slots=4, **environ)
    running = under_way(team.counting(count=200))
    (tmp_path / "stall").touch()
    wait_until((tmp_path / "stall.done").exists, timeout_s=PATIENCE_S, what="its stall")
    wake.workers(team.queue)  # the one message that it still asks for
    waiting = [team.counting(count=3) for _ in range(2)]
    assert worker.wait(PATIENCE_S) == STALLED_STATUS
    assert ends(running) == ["released"]
    team.worker()
    assert all(team.is_counted(ended(run), count=3) for run in waiting)
    taken_over(running)


def test_a_killed_web_process_touches_no_run(team: Team, hasty_stack: Stack) -> None:
    team.worker()
    web = hasty_stack.web()
    run = has_said(team.counting(count=30), "step 3")
    web.send(signal.SIGKILL)
    web.wait()
    hasty_stack.processes.remove(web)
    assert team.is_counted(ended(run), count=30)
    assert own_lines(run, 1) == [f"step {step}" for step in range(30)]
