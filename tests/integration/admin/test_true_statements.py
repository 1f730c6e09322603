"""Pages say nothing false: of searches, of lost attempts, of workers that are gone, of cancels under way."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from runs.models import Attempt, Run, Worker
from runs.states import AttemptEnd, Level, Status
from tests.factories import make_attempt, make_run, make_worker
from tests.output import EPOCH, end_run, store_lines
from tests.pages import page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


@pytest.fixture
def run() -> Run:
    """Twelve lines, one of them an error that says "Loss"."""
    attempt = make_attempt()
    store_lines(attempt, range(1, 12))
    store_lines(attempt, [12], level=Level.ERROR, message="a Loss & loss")
    return end_run(attempt, started_at=EPOCH)


def page(client: Client, run: Run, **query: str) -> str:
    answer = client.get(page_of(run), query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def lines(client: Client, run: Run, **query: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(page_of(run, "lines"), query).json()
    return answer


# Logs


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"text": "nothing like it"}, "No matching lines."),
        ({"source": "stderr"}, "No matching lines."),
        ({"level": "warning", "text": "line 1"}, "No matching lines."),
    ],
)
def test_a_search_without_a_match_does_not_say_that_there_are_no_logs(
    viewer: Client, run: Run, query: dict[str, str], text: str
) -> None:
    assert lines(viewer, run, **query)["empty"] == text
    assert text in page(viewer, run, **query)


def test_a_run_without_lines_says_so(viewer: Client) -> None:
    attempt = make_attempt()
    assert "No logs yet." in page(viewer, attempt.run)
    assert "This run has no logs." in page(viewer, end_run(attempt))


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ({"text": "LINE 1"}, "3 matching lines"),
        ({"text": "loss"}, "1 matching line"),
        ({"level": "error"}, "1 matching line"),
        ({"source": "log"}, "12 matching lines"),
        ({"text": "none"}, "0 matching lines"),
        ({}, ""),
    ],
)
def test_matches_are_counted(viewer: Client, run: Run, query: dict[str, str], matches: str) -> None:
    assert lines(viewer, run, **query)["matches"] == matches


def test_matches_are_marked_as_text(viewer: Client, run: Run) -> None:
    assert "a <mark>Loss</mark> &amp; <mark>loss</mark>" in lines(viewer, run, text="loss")["html"]
    assert "a Loss <mark>&amp;</mark> loss" in lines(viewer, run, text="&")["html"]
    assert "<mark>" not in lines(viewer, run)["html"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"go": "nonsense"}, "Invalid line or time “nonsense”. Use 500, 2.500, 12:34:56 or 2026-03-01 12:34:56."),
        ({"go": "25:99:00"}, "Invalid line or time “25:99:00”. Use 500, 2.500, 12:34:56 or 2026-03-01 12:34:56."),
        ({"go": "9" * 30}, f"Invalid line or time “{'9' * 30}”. Use 500, 2.500, 12:34:56 or 2026-03-01 12:34:56."),
        ({"go": "13"}, "There is no line 13. The last one is 12."),
        ({"go": "2.1"}, "There is no line 2.1. The last one is 12."),
        ({"go": "23:59:59"}, "There is no line at 23:59:59 or later. The last one is from 12:00:00.012."),
        ({"after": "x"}, "Invalid line “x”. Use 500 or 2.500."),
        ({"level": "loud"}, "There is no level “loud”."),
        ({"source": "printer"}, "There is no source “printer”."),
        ({"go": "12"}, ""),
        ({"go": "12:00:00"}, ""),
    ],
)
def test_a_jump_that_leads_nowhere_says_why(viewer: Client, run: Run, query: dict[str, str], problem: str) -> None:
    assert lines(viewer, run, **query)["problem"] == problem


def test_a_typed_time_is_of_the_zone_that_lines_are_shown_in(viewer: Client, run: Run, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    found = lines(viewer, run, go="17:30:00.005")
    assert (found["problem"], found["target"]) == ("", "1.5")
    assert ">17:30:00.005<" in found["html"]


# Attempts


def lost() -> Run:
    attempt = make_attempt()
    store_lines(attempt, range(1, 42))
    run = end_run(attempt, Status.FAILED, failure_kind="lost")
    Attempt.objects.filter(pk=attempt.pk).update(end=AttemptEnd.LOST, lines_emitted=None)
    return run


def test_the_lines_of_a_lost_attempt_are_not_counted_as_all(viewer: Client) -> None:
    content = page(viewer, lost())
    assert "41 lines stored; the total is unknown (worker lost)" in content
    assert "41 of 41" not in content
    assert "logs saved" in content or "Finished" in content


def test_a_failed_attempt_shows_no_sign_of_success(viewer: Client) -> None:
    TaskResult.objects.create(task_id="t1", status="SUCCESS")
    attempt = make_attempt(task_id="t1", exit_status=0)
    content = page(viewer, end_run(attempt, Status.FAILED))
    assert "Exit status" not in content
    assert "success" not in content.lower().partition("attempt-1")[2].partition("</section>")[0]
    Attempt.objects.filter(pk=attempt.pk).update(exit_status=3)
    assert "<dt>Exit status</dt><dd>3</dd>" in page(viewer, attempt.run)


@pytest.mark.parametrize(
    ("why", "words"), [("asked", "on request"), ("memory", "at the memory limit"), ("stalled", "at the stall limit")]
)
def test_a_stack_trace_says_what_it_was_captured_for(viewer: Client, why: str, words: str) -> None:
    kept = {"at": "2026-03-01T12:00:00+00:00", "why": why, "stacks": "in main", "processes": []}
    content = page(viewer, end_run(make_attempt(inspection=kept), Status.FAILED))
    assert f"Stack trace captured {words}, 2026-03-01 12:00:00 UTC" in content


def test_the_pace_is_of_the_newest_attempt(viewer: Client) -> None:
    now = datetime.now(UTC)
    run = make_run()
    make_attempt(run, progress_from=0.0, progress_from_at=now - timedelta(hours=9)).run.attempts.update(
        end=AttemptEnd.LOST, finished_at=now
    )
    make_attempt(run, progress_from=500.0, progress_from_at=now - timedelta(seconds=10))
    progress = {"progress_current": 600.0, "progress_total": 1000.0, "progress_at": now}
    Run.objects.filter(pk=run.pk).update(started_at=now - timedelta(hours=9), **progress)
    content = page(viewer, run)
    assert "10.0 per s" in content
    assert "about 40.0 s left" in content


# Status


def test_a_run_that_is_being_cancelled_has_a_badge_of_its_own(viewer: Client) -> None:
    run = make_attempt().run
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=datetime.now(UTC))
    badge = '<span class="run-chip run-cancelling">Cancelling'
    assert badge in page(viewer, run)
    assert badge in viewer.get(reverse("admin:runs_run_changelist")).content.decode()
    assert "Running</span>" not in page(viewer, run)


@pytest.mark.parametrize(
    ("worker", "is_served"),
    [
        (None, False),
        ({"queues": ["other"]}, False),
        ({"queues": ["runs"], "stopped_at": EPOCH}, False),
        ({"queues": ["runs"], "heartbeat_at": EPOCH}, False),
        ({"queues": ["runs", "other"]}, True),
    ],
)
def test_a_pending_run_says_when_no_worker_serves_its_queue(
    viewer: Client, worker: dict[str, Any] | None, is_served: bool
) -> None:
    if worker is not None:
        make_worker(**worker)
    waits = "Waiting for a free worker of queue" if is_served else "no worker listens to queue"
    assert waits in page(viewer, make_run())


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({}, "Online"),
        ({"heartbeat_at": EPOCH}, "No heartbeat"),
        ({"stopping_at": EPOCH}, "Stopping"),
        ({"stopping_at": EPOCH, "stopped_at": EPOCH}, "Stopped"),
        ({"stopped_at": EPOCH}, "Lost"),
    ],
)
def test_a_worker_that_did_not_stop_by_itself_is_lost(viewer: Client, columns: dict[str, Any], state: str) -> None:
    worker: Worker = make_worker(**columns)
    content = viewer.get(reverse("admin:runs_worker_change", args=[worker.pk])).content.decode()
    assert re.search(rf">\s*{state}\s*<", content)
