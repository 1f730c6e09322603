"""Reconciler on real rows: lost attempts, dead workers, missing wake-ups."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from runs import transitions, wake
from runs.forkserver import machine
from runs.lines.store import store_entries
from runs.models import Attempt, Pulse, Run, Worker
from runs.outcomes import Outcome
from runs.recovery import reconcile
from runs.recovery.reconcile import LAST_SWEEP, LEASES_VALID_FROM, recover
from runs.states import AttemptKey
from runs.transitions import EndResult
from tests.factories import make_attempt, make_run, make_worker
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

EXPIRED = -5.0


@dataclass
class Queues:
    """Queues of the broker: messages that wait in each, and messages that were sent."""

    waiting: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)

    def send(self, queue: str, count: int) -> None:
        self.sent[queue] = self.sent.get(queue, 0) + count


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> Queues:
    """Queues in place of the broker's."""
    queues = Queues()
    monkeypatch.setattr(wake, "workers", queues.send)
    monkeypatch.setattr(wake, "waiting", lambda queue: queues.waiting.get(queue, 0))
    return queues


def local_worker(pid: int) -> Worker:
    return make_worker(host=machine.host(), boot_id=machine.boot_id(), pid=pid, pid_started=machine.started(pid) or 0.0)


@pytest.fixture
def dead() -> Worker:
    """A worker of this host that has just been killed."""
    process = subprocess.Popen(["sleep", "60"])
    worker = local_worker(process.pid)
    process.kill()
    process.wait()
    return worker


def states(attempt: Attempt) -> tuple[str, str, str]:
    """Return the run's status and failure kind, and the attempt's end."""
    attempt.refresh_from_db()
    run = Run.objects.get(pk=attempt.run_id)
    return run.status, run.failure_kind, attempt.end


def test_an_expired_lease_gives_the_run_back_for_its_next_attempt() -> None:
    attempt = make_attempt(lease_s=EXPIRED)
    assert recover().ended == {attempt.key: EndResult.AGAIN}
    assert states(attempt) == ("pending", "", "lost")
    assert "was lost" in attempt.error
    assert attempt.ended_by == "reconcile"
    assert make_attempt(attempt.run).number == 2


def test_a_running_row_without_an_open_attempt_comes_to_an_end() -> None:
    gone, executed, due = make_attempt(), make_attempt().run, make_run()
    gone.delete()
    recover()
    orphaned = Run.objects.get(pk=gone.run_id)
    assert (orphaned.status, orphaned.failure_kind) == ("failed", "lost")
    assert "without an open attempt" in orphaned.error
    assert orphaned.finished_at is not None
    assert [Run.objects.get(pk=run.pk).status for run in (executed, due)] == ["running", "pending"]


def test_a_lease_in_force_is_left_alone() -> None:
    attempt = make_attempt()
    assert recover().ended == {}
    assert states(attempt) == ("running", "", "")


@pytest.mark.parametrize("values", [{"on_lost": "fail"}, {"max_attempts": 1}])
def test_a_run_that_may_not_be_tried_again_fails_as_lost(values: dict[str, Any]) -> None:
    attempt = make_attempt(make_run(**values), lease_s=EXPIRED)
    assert recover().ended == {attempt.key: EndResult.FINAL}
    assert states(attempt) == ("failed", "lost", "lost")


def test_a_lost_run_whose_cancel_was_asked_for_is_cancelled() -> None:
    attempt = make_attempt(lease_s=EXPIRED)
    transitions.request_cancel(attempt.run_id, by="ann")
    assert recover().ended == {attempt.key: EndResult.FINAL}
    assert states(attempt) == ("cancelled", "", "cancelled")
    assert attempt.ended_by == "Cancelled by ann"


def test_a_dead_worker_of_this_host_is_noticed_at_once(dead: Worker) -> None:
    attempt = make_attempt(worker=dead, lease_s=3600)
    assert recover().ended == {attempt.key: EndResult.AGAIN}
    dead.refresh_from_db()
    assert dead.stopped_at is not None


def test_a_living_worker_of_this_host_is_left_alone() -> None:
    attempt = make_attempt(worker=local_worker(os.getpid()), lease_s=3600)
    assert recover().ended == {}
    assert states(attempt)[0] == "running"


def test_after_an_outage_leases_are_not_judged_for_the_time_of_one(dead: Worker) -> None:
    stale, killed = make_attempt(lease_s=EXPIRED), make_attempt(worker=dead, lease_s=EXPIRED)
    Pulse.objects.create(name=LAST_SWEEP, at=Now() - timedelta(minutes=1))
    for _ in range(2):
        report = recover()
        assert not report.by_lease
    assert states(stale)[0] == "running"
    assert states(killed)[0] == "pending", "a dead process needs no lease to be dead"
    Pulse.objects.filter(name=LEASES_VALID_FROM).update(at=Now() - timedelta(seconds=1))
    assert recover().ended == {stale.key: EndResult.AGAIN}


def test_a_renewal_between_the_look_and_the_verdict_saves_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = make_attempt(lease_s=EXPIRED)

    def renew_first(*_: Any, **__: Any) -> bool:
        Attempt.objects.filter(pk=attempt.pk).update(lease_expires_at=transitions.from_now(10))
        return True

    monkeypatch.setattr(reconcile, "is_lost", renew_first)
    assert recover().ended == {}
    assert states(attempt) == ("running", "", "")


def test_one_bad_row_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = make_attempt(lease_s=EXPIRED), make_attempt(lease_s=EXPIRED)
    real = transitions.end_attempt

    def end_attempt(key: AttemptKey, outcome: Outcome) -> EndResult:
        if key == bad.key:
            raise RuntimeError("a bug")
        return real(key, outcome)

    monkeypatch.setattr(reconcile, "end_attempt", end_attempt)
    report = recover()
    assert report.failed == {f"attempt {bad.key}": "a bug"}
    assert report.ended == {good.key: EndResult.AGAIN}


@pytest.mark.parametrize("retries", [{"lost": {"times": "many"}}, {"lost": None}, {"lost": {"times": -1}}, ["lost"]])
def test_a_run_whose_retries_cannot_be_read_is_not_stuck(retries: Any) -> None:
    attempt = make_attempt(make_run(retries=retries, max_attempts=2), lease_s=EXPIRED)
    assert recover().ended == {attempt.key: EndResult.AGAIN}


def test_a_worker_whose_process_cannot_be_looked_at_is_judged_by_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = local_worker(os.getpid())
    held, stale = make_attempt(worker=worker, lease_s=3600), make_attempt(worker=worker, lease_s=EXPIRED)

    def forbidden(*_: Any) -> bool:
        raise PermissionError("no such look")

    monkeypatch.setattr(machine, "is_gone", forbidden)
    assert recover().ended == {stale.key: EndResult.AGAIN}
    assert states(held)[0] == "running"


def test_orphans_that_cannot_be_looked_for_hold_up_only_their_own_runs(
    dead: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, stale = make_attempt(worker=dead, lease_s=EXPIRED), make_attempt(lease_s=EXPIRED)

    def broken() -> int:
        raise OSError("no process table")

    monkeypatch.setattr(reconcile, "kill_orphans", broken)
    report = recover()
    assert report.failed == {"orphans": "no process table"}
    assert report.ended == {stale.key: EndResult.AGAIN}
    monkeypatch.undo()
    assert recover().ended == {killed.key: EndResult.AGAIN}


def test_an_outage_in_the_middle_of_a_sweep_judges_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    recover()
    stale = make_attempt(lease_s=EXPIRED)
    real = reconcile._open_attempts

    def wait_for_the_database() -> Any:
        Pulse.objects.filter(name=LAST_SWEEP).update(at=Now() - timedelta(minutes=1))
        return real()

    monkeypatch.setattr(reconcile, "_open_attempts", wait_for_the_database)
    assert recover().ended == {}
    assert states(stale)[0] == "running"


def test_a_lost_worker_leaves_a_failure_report() -> None:
    attempt = make_attempt(lease_s=EXPIRED)
    store_entries(attempt.run_id, [b'1:1:[1.5,20,"log","its last word",null]'], [])
    recover()
    attempt.refresh_from_db()
    certificate = attempt.certificate
    assert certificate is not None
    assert (certificate["written_by"], certificate["failure_kind"]) == ("reconcile", "lost")
    assert [line["message"] for line in certificate["last_lines"]] == ["its last word"]
    assert certificate["heartbeat_age_s"] >= 0


def test_a_due_run_without_a_message_gets_one(queues: Queues) -> None:
    for _ in range(3):
        make_run()
    make_run(queue="gpu")
    make_run(not_before=Now() + timedelta(hours=1))
    queues.waiting["runs"] = 1
    report = reconcile.reconcile()
    assert report.sent == queues.sent == {"runs": 2, "gpu": 1}


def test_a_queue_is_never_flooded(configure: Any, queues: Queues) -> None:
    configure(resend_max=5)
    for _ in range(8):
        make_run()
    queues.waiting["runs"] = 1
    assert reconcile.reconcile().sent == {"runs": 5}
    queues.waiting["runs"] = 9
    assert reconcile.reconcile().sent == {}


def test_a_recovered_run_is_sent_at_once(queues: Queues) -> None:
    make_attempt(lease_s=EXPIRED)
    assert reconcile.reconcile().sent == queues.sent == {"runs": 1}


def test_a_broker_that_is_away_is_reported_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run()
    attempt = make_attempt(lease_s=EXPIRED)

    def away(queue: str) -> int:
        raise ConnectionError("the broker is away")

    monkeypatch.setattr(wake, "waiting", away)
    report = reconcile.reconcile()
    assert report.failed == {"queue runs": "the broker is away"}
    assert report.ended == {attempt.key: EndResult.AGAIN}


def test_wake_ups_are_counted_in_the_real_queue(redis_url: str) -> None:
    assert wake.waiting("runs") == 0
    make_run()
    assert reconcile.reconcile().sent == {"runs": 1}
    assert wake.waiting("runs") == 1
    assert reconcile.reconcile().sent == {}


@pytest.mark.django_db(transaction=True)
def test_two_reconcilers_at_once_end_each_attempt_once() -> None:
    attempts = [make_attempt(lease_s=EXPIRED) for _ in range(20)]
    reports: list[reconcile.ReconcileReport] = []

    def sweep() -> None:
        reports.append(recover())
        connection.close()

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in sweepers:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in sweepers), timeout_s=30, what="the sweeps")
    assert not any(report.failed for report in reports)
    assert sorted(key for report in reports for key in report.ended) == sorted(a.key for a in attempts)
