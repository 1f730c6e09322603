"""Workers and children are killed and frozen: each run goes on from its checkpoint, once at a time, to the same end."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from runs import services
from runs.models import Attempt, Worker
from runs.states import AttemptEnd, FailureKind, Status
from tests.recovery import (
    LEASE_S,
    PATIENCE_S,
    Team,
    alive,
    attempts,
    ends,
    has_said,
    is_whole,
    own_lines,
    starts,
    summary,
    taken_over,
    under_way,
)
from tests.scripted.experiments_scripted import read_marks
from tests.stack import Stack, ended, frozen, processes_of
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


def fork_server(worker_pid: int) -> tuple[psutil.Process, psutil.Process]:
    """Keeper and server of a worker."""
    (keeper,) = [p for p in psutil.Process(worker_pid).children() if "runs.forkserver.keeper" in " ".join(p.cmdline())]
    (server,) = keeper.children()
    return keeper, server


def test_a_killed_child_has_crashed_and_says_how(team: Team) -> None:
    team.worker()
    run = under_way(team.counting())
    (attempt,) = attempts(run)
    assert attempt.child_pid is not None
    os.kill(attempt.child_pid, signal.SIGKILL)
    assert ended(run).failure_kind == FailureKind.CRASHED
    (attempt,) = attempts(run)
    assert (attempt.signal, is_whole(attempt)) == (signal.SIGKILL, True)
    assert attempt.certificate is not None
    assert attempt.certificate["last_lines"][-1]["message"] == own_lines(run, 1)[-1]


def test_a_crash_is_tried_again_where_that_was_asked_for(team: Team) -> None:
    team.worker()
    run = ended(team.counting(count=10, pause_s=0.01, die_at={1: 3, 2: 6}, retries={"crashed": 2}))
    assert team.is_counted(run, count=10)
    assert [(attempt.end, attempt.failure_kind) for attempt in attempts(run)] == [
        ("failed", "crashed"), ("failed", "crashed"), ("completed", ""),
    ]  # fmt: skip
    assert own_lines(run, 1) == ["step 0", "step 1", "step 2", "dying by sigkill"]


def test_an_error_is_tried_again_after_its_pause(team: Team) -> None:
    team.worker()
    retries = {"error": {"times": 1, "backoff_s": 2, "jitter": 0}}
    run = ended(team.counting(count=5, pause_s=0.01, die_at={1: 3}, die_by="raise", retries=retries))
    assert team.is_counted(run, count=5)
    first, second = attempts(run)
    assert first.finished_at is not None
    assert (second.claimed_at - first.finished_at).total_seconds() >= 1.9
    assert second.restored is not None


def test_retry_later_hands_the_run_back_and_does_not_count_as_a_failure(team: Team) -> None:
    team.worker()
    run = ended(team.launch("retry_later", count=2, pause_s=0.5))
    assert (run.status, ends(run)) == (Status.COMPLETED, ["released", "released", "completed"])
    first, second, _ = attempts(run)
    assert first.error == "scripted: not yet"
    assert first.finished_at is not None
    assert (second.claimed_at - first.finished_at).total_seconds() >= 0.45


def test_a_killed_worker_that_comes_back_is_noticed_at_once(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting())
    (first,) = attempts(run)
    worker.kill()
    wait_until(lambda: alive([first.child_pid]) == [], timeout_s=5, what="the end of its child")
    worker.start()
    taken_over(run)
    first.refresh_from_db()
    assert (first.end, first.failure_kind) == (AttemptEnd.LOST, FailureKind.LOST)
    assert first.finished_at is not None
    assert first.finished_at < first.lease_expires_at, "its process is gone: nobody waits for its lease"
    assert team.is_counted(ended(run))
    assert summary(run)["resumed_from"] > 0


def test_a_worker_on_a_host_that_is_gone_is_noticed_by_its_lease(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting(count=100))
    Worker.objects.filter(pid=worker.pid).update(host="elsewhere")
    other = team.worker()
    worker.kill()
    taken_over(run)
    first, second = attempts(run)
    assert second.claimed_at >= first.lease_expires_at
    assert (second.claimed_at - first.lease_expires_at).total_seconds() < 5
    assert second.worker is not None
    assert second.worker.pid == other.pid
    assert team.is_counted(ended(run), count=100)


def test_a_run_that_must_not_be_tried_again_fails_as_lost_with_a_certificate(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting(retries={"lost": 0}))
    worker.kill()
    assert (ended(run).status, run.failure_kind) == (Status.FAILED, FailureKind.LOST)
    (attempt,) = attempts(run)
    assert attempt.certificate is not None
    assert attempt.certificate["written_by"] == "reconcile"
    assert attempt.certificate["heartbeat_age_s"] < LEASE_S
    assert attempt.certificate["last_lines"]


def test_a_lost_run_whose_cancel_was_asked_for_ends_as_cancelled(team: Team) -> None:
    worker = team.worker()
    run = has_said(team.launch("ignore_cancel", limits={"interrupt_after_s": 60}), "ignoring")
    services.cancel(run.pk, by="ada")
    worker.kill()
    assert ended(run).status == Status.CANCELLED
    assert processes_of(run) == []


def test_what_outlives_worker_and_fork_server_killed_at_once_is_killed_before_the_run_goes_on(team: Team) -> None:
    team.workers_at_once(2, slots=1)
    run = team.launch("daemonize", count=2, then="hold")
    wait_until(lambda: run.results.filter(key="pid").count() == 2, timeout_s=PATIENCE_S, what="its daemons")
    (first,) = attempts(run)
    assert first.worker is not None
    worker = next(each for each in team.workers if each.pid == first.worker.pid)
    daemons = list(run.results.filter(key="pid").values_list("value", flat=True))
    for process in (psutil.Process(worker.pid), *fork_server(worker.pid)):
        process.kill()
    taken_over(run)
    assert alive([first.child_pid, *daemons]) == []


@pytest.mark.parametrize("victim", ["keeper", "server"])
def test_a_killed_fork_server_costs_an_attempt_and_no_run(team: Team, victim: str) -> None:
    worker = team.worker()
    run = under_way(team.counting(count=30))
    fork_server(worker.pid)[victim == "server"].kill()
    assert team.is_counted(ended(run), count=30)
    assert ends(run) == ["lost", "completed"]
    assert all(is_whole(attempt) for attempt in attempts(run))


def test_what_redis_has_of_a_dead_attempt_is_stored_whoever_flushes(team: Team, hasty_stack: Stack) -> None:
    """Nobody flushes while the worker dies, and the next attempt ends: its end must not throw the rest away."""
    (system,) = [process for process in hasty_stack.processes if process.name == "system1"]
    worker = team.worker()
    with frozen(system):
        run = under_way(team.counting(count=20))
        worker.kill()
        worker.start()
        ended(run)
        assert (ends(run), team.is_counted(run, count=20)) == (["lost", "completed"], True)
        said = own_lines(run, 1)
        steps = [
            mark["step"] for mark in read_marks(team.marks(run)) if mark["mark"] == "step" and mark["attempt"] == 1
        ]
        assert said == [f"step {step}" for step in range(len(said))]
        assert len(said) >= len(steps) - 1, "all but what it was about to say"


def test_a_supervisor_that_fails_by_itself_costs_an_attempt_and_no_run(team: Team) -> None:
    team.worker(slots=4, ATHANOR_APPS="tests.meddling", MEDDLING_WATCH="1")
    run = ended(team.counting(count=40))
    assert team.is_counted(run, count=40)
    assert ends(run) == ["lost", "completed"]
    assert attempts(run)[0].error == "Its supervisor failed; see the worker's log."
    assert summary(run)["resumed_from"] > 0


def test_a_worker_that_stood_still_for_three_leases_writes_nothing(team: Team) -> None:
    worker = team.worker()
    run = under_way(team.counting(count=60, pause_s=0.2))
    (first,) = attempts(run)
    with frozen(worker):
        wait_until(lambda: alive([first.child_pid]) == [], timeout_s=LEASE_S + 2, what="the end of its child")
        other = team.worker()
        taken_over(run)
        second = attempts(run)[1]
        assert second.worker is not None
        assert second.worker.pid == other.pid
        wait_until(lambda: age_of(first) > 3 * LEASE_S, timeout_s=PATIENCE_S, what="three leases")
        before = row_and_lines(first)
    beaten = Worker.objects.get(pid=worker.pid).heartbeat_at
    wait_until(lambda: Worker.objects.get(pid=worker.pid).heartbeat_at > beaten, timeout_s=PATIENCE_S, what="a beat")
    assert team.is_counted(ended(run), count=60)
    assert row_and_lines(first) == before
    assert starts(team.marks(run)) == [1, 2]
    assert worker.is_running


def age_of(attempt: Attempt) -> float:
    """Seconds since an attempt's lease was last renewed, by the end of it."""
    from django.utils import timezone

    attempt.refresh_from_db()
    return (timezone.now() - attempt.lease_expires_at).total_seconds() + LEASE_S


def row_and_lines(attempt: Attempt) -> tuple[object, ...]:
    """Return everything that is stored of an attempt."""
    (row,) = Attempt.objects.filter(pk=attempt.pk).values()
    return tuple(row.items()), attempt.run.lines.filter(attempt=attempt.number).count()
