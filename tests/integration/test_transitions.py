"""Only writer of a run's status: the first caller wins, and final is final."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from runs import transitions
from runs.models import Attempt, LogLine, Result, Run
from runs.outcomes import Outcome, Totals
from runs.statements import from_now
from runs.states import AttemptEnd, AttemptKey, FailureKind, Status
from runs.transitions import EndResult
from tests.factories import make_attempt, make_run, make_worker

pytestmark = pytest.mark.django_db

COMPLETED = Outcome(Status.COMPLETED, summary={"a": 1})
LOST = Outcome(Status.FAILED, FailureKind.LOST, "its worker vanished")


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def claimed(**values: object) -> Attempt:
    run = make_run(**values)
    attempt = transitions.claim([run.queue], make_worker(), lease_s=10)
    assert attempt is not None
    assert attempt.run_id == run.pk
    return attempt


def test_a_claim_takes_the_highest_priority_then_the_oldest() -> None:
    old, urgent, young = make_run(), make_run(priority=5), make_run()
    worker = make_worker()
    order = [transitions.claim(["runs"], worker, lease_s=10) for _ in range(4)]
    assert [a and a.run_id for a in order] == [urgent.pk, old.pk, young.pk, None]


def test_a_claim_leaves_other_queues_and_the_future_alone() -> None:
    make_run(queue="gpu")
    make_run(not_before=timezone.now() + timedelta(hours=1))
    assert transitions.claim(["runs"], make_worker(), lease_s=10) is None


def test_a_claimed_run_is_running_with_an_open_attempt() -> None:
    attempt = claimed()
    assert (attempt.run.status, attempt.run.attempt, attempt.number) == (Status.RUNNING, 1, 1)
    assert attempt.run.started_at is not None
    assert attempt.finished_at is None


@pytest.mark.django_db(transaction=True)
def test_many_claims_at_once_get_each_run_once() -> None:
    runs = [make_run() for _ in range(6)]
    worker = make_worker()
    got: list[int] = []

    def work() -> None:
        try:
            while (attempt := transitions.claim(["runs"], worker, lease_s=10)) is not None:
                got.append(attempt.run_id)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [run.pk for run in runs]


def test_finish_writes_the_end_once() -> None:
    attempt = claimed()
    assert transitions.finish(attempt.key, replace(COMPLETED, totals=Totals(lines_emitted=3)))
    assert not transitions.finish(attempt.key, Outcome(Status.FAILED, FailureKind.ERROR, "too late"))
    run = fresh(attempt.run)
    assert (run.status, run.summary, run.error) == (Status.COMPLETED, {"a": 1}, "")
    attempt.refresh_from_db()
    assert (attempt.end, attempt.lines_emitted) == (AttemptEnd.COMPLETED, 3)


def test_an_attempt_that_was_taken_over_writes_nothing() -> None:
    attempt = claimed()
    assert transitions.release(attempt.key, LOST)
    second = transitions.claim(["runs"], make_worker(), lease_s=10)
    assert second is not None
    assert second.key == AttemptKey(attempt.run_id, 2)
    assert not transitions.finish(attempt.key, COMPLETED)
    assert not transitions.mark(attempt.key, child_pid=1)
    assert fresh(attempt.run).status == Status.RUNNING


def test_a_pending_run_is_cancelled_at_once() -> None:
    run = make_run()
    assert transitions.request_cancel(run.pk, by="ada") == Status.CANCELLED
    run = fresh(run)
    assert run.cancel_requested_by == "ada"
    assert run.finished_at is not None


def test_a_running_run_is_asked_and_the_first_asker_is_kept() -> None:
    attempt = claimed()
    assert transitions.request_cancel(attempt.run_id, by="ada") == Status.RUNNING
    transitions.request_cancel(attempt.run_id, by="bob")
    assert fresh(attempt.run).cancel_requested_by == "ada"


def test_the_cancel_of_a_finished_run_changes_nothing() -> None:
    attempt = claimed()
    transitions.finish(attempt.key, COMPLETED)
    assert transitions.request_cancel(attempt.run_id, by="ada") == Status.COMPLETED
    assert fresh(attempt.run).cancel_requested_at is None


def test_the_cancel_of_no_run_is_told() -> None:
    assert transitions.request_cancel(999_999, by="ada") is None


def test_a_lost_run_goes_back_for_its_next_attempt() -> None:
    attempt = claimed()
    assert transitions.end_attempt(attempt.key, LOST) is EndResult.AGAIN
    assert fresh(attempt.run).status == Status.PENDING
    attempt.refresh_from_db()
    assert (attempt.end, attempt.failure_kind) == (AttemptEnd.LOST, FailureKind.LOST)


@pytest.mark.parametrize("values", [{"on_lost": "fail"}, {"max_attempts": 1}])
def test_a_lost_run_that_must_not_be_tried_again_fails_as_lost(values: dict[str, object]) -> None:
    attempt = claimed(**values)
    assert transitions.end_attempt(attempt.key, LOST) is EndResult.FINAL
    run = fresh(attempt.run)
    assert (run.status, run.failure_kind) == (Status.FAILED, FailureKind.LOST)


def test_handing_back_does_not_use_up_attempts() -> None:
    attempt = claimed(max_attempts=1)
    assert transitions.end_attempt(attempt.key, Outcome(Status.PENDING)) is EndResult.AGAIN
    assert fresh(attempt.run).status == Status.PENDING


def test_a_run_cannot_put_itself_off_for_ever(configure: Any) -> None:
    configure(retry_later_max=2)
    attempt, drained = claimed(), Outcome(Status.PENDING, ended_by="Its worker is going down")
    for ending in (
        drained,
        Outcome(Status.PENDING, error="not yet"),
        drained,
        Outcome(Status.PENDING, error="not yet"),
    ):
        assert transitions.end_attempt(attempt.key, ending) is EndResult.AGAIN
        attempt = make_attempt(attempt.run)
    assert transitions.end_attempt(attempt.key, Outcome(Status.PENDING, error="not yet")) is EndResult.FINAL
    run = fresh(attempt.run)
    assert (run.status, run.failure_kind) == (Status.FAILED, FailureKind.ERROR)
    assert run.error == "Asked to be retried later more than 2 times (retry_later_max): not yet"


def test_a_run_to_be_cancelled_is_not_handed_back() -> None:
    attempt = claimed()
    transitions.request_cancel(attempt.run_id, by="ada")
    assert not transitions.release(attempt.key, Outcome(Status.PENDING))
    assert transitions.end_attempt(attempt.key, LOST) is EndResult.FINAL
    assert fresh(attempt.run).status == Status.CANCELLED


def test_the_news_of_an_attempt_tell_of_its_cancel_and_of_stored_lines() -> None:
    worker = make_worker()
    attempt, quiet = make_attempt(worker=worker, lines_stored=[[1, 40]]), make_attempt(worker=worker)
    transitions.request_cancel(attempt.run_id, by="ada")
    states = transitions.attempt_states(worker, [attempt.key, quiet.key])
    assert (states[attempt.key].cancel_requested_by, states[attempt.key].lines_stored) == ("ada", 40)
    assert states[quiet.key].cancel_requested_by is None


def test_there_are_no_news_of_what_was_taken_over_or_is_another_worker_s() -> None:
    worker = make_worker()
    lost, other = make_attempt(worker=worker), make_attempt()
    transitions.release(lost.key, LOST)
    assert transitions.attempt_states(worker, [lost.key, other.key]) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"status": "sleeping"},
        {"status": "failed", "finished_at": timezone.now()},
        {"failure_kind": "error"},
        {"status": "completed"},
        {"finished_at": timezone.now()},
        {"status": "running"},
        {"status": "cancelled", "finished_at": timezone.now()},
    ],
)
def test_the_database_refuses_what_must_never_be(values: dict[str, object]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(**values)


@pytest.mark.parametrize("values", [{"seq": 0}, {"attempt": 0}, {"level": 7}, {"source": "elsewhere"}])
def test_the_database_refuses_lines_that_must_never_be(values: dict[str, Any]) -> None:
    line = {"run": make_run(), "attempt": 1, "seq": 1, "time": timezone.now(), "level": 20, "source": "log"}
    with pytest.raises(IntegrityError), transaction.atomic():
        LogLine.objects.create(**line | values)


@pytest.mark.parametrize("values", [{"seq": 0}, {"attempt": 0}, {"kind": "guess"}])
def test_the_database_refuses_results_that_must_never_be(values: dict[str, Any]) -> None:
    result = {"run": make_run(), "attempt": 1, "seq": 1, "time": timezone.now(), "kind": "result", "key": "k"}
    with pytest.raises(IntegrityError), transaction.atomic():
        Result.objects.create(**result | values)


def test_a_run_has_one_open_attempt_at_most() -> None:
    attempt = claimed()
    with pytest.raises(IntegrityError), transaction.atomic():
        Attempt.objects.create(run=attempt.run, number=2, lease_expires_at=timezone.now())


def test_a_long_name_of_who_cancelled_is_no_obstacle_to_the_end() -> None:
    attempt = claimed()
    ending = Outcome(Status.CANCELLED, ended_by="Cancelled by " + "x" * 200)
    assert transitions.finish(attempt.key, ending)
    assert len(Attempt.objects.get().ended_by) == 200


@pytest.mark.usefixtures("postgres_server")
def test_a_claim_reads_the_first_due_run_from_the_index() -> None:
    """However many runs wait: neither is their table scanned, nor are they sorted."""
    due = transitions._due_statement(("runs",), make_worker().pk, 900.0)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # the tables of the tests are small
        cursor.execute(f"EXPLAIN {transitions._CLAIM % due.text}", (*due.params, 1, "task", 10.0))
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert plan.count("Index Scan using run_due") == 1
    assert re.search(r"Index Cond: .*\bid = due\.id", plan)
    assert "Sort" not in plan


def test_the_end_of_a_run_that_another_has_ended_is_refused() -> None:
    attempt = claimed()
    Attempt.objects.filter(pk=attempt.pk).update(end=AttemptEnd.LOST, finished_at=timezone.now())
    assert not transitions.finish(attempt.key, COMPLETED)
    assert fresh(attempt.run).status == Status.RUNNING


@pytest.mark.parametrize(
    ("outcome", "end"),
    [(COMPLETED, EndResult.FINAL), (Outcome(Status.PENDING), EndResult.AGAIN), (LOST, EndResult.AGAIN)],
)
def test_marks_are_written_with_the_end(outcome: Outcome, end: EndResult) -> None:
    attempt = claimed()
    marks = {"child_pid": 7, "gone_at": from_now(-1), "provenance": {"git_commit": "abc"}}
    assert transitions.end_attempt(attempt.key, outcome, marks) is end
    attempt = Attempt.objects.get(pk=attempt.pk)
    assert (attempt.child_pid, attempt.provenance) == (7, {"git_commit": "abc"})
    assert attempt.gone_at is not None
    assert attempt.finished_at is not None
    assert attempt.gone_at < attempt.finished_at


def test_a_claim_has_what_the_model_has() -> None:
    values = {"configuration": {"lr": 0.1}, "limits": {"timeout_s": 5}, "retries": {"error": {"times": 2}}, "seed": 9}
    attempt = claimed(**values, slot=timezone.now())
    stored = Attempt.objects.select_related("run").get()
    for row, other in ((attempt, stored), (attempt.run, stored.run)):
        columns = [field.attname for field in row._meta.concrete_fields]
        assert {name: getattr(row, name) for name in columns} == {name: getattr(other, name) for name in columns}
