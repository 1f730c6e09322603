"""A run that takes its worker along harms its neighbours no more than once or twice, and never fails them."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client

from runs import transitions
from runs.conf import runs_settings
from runs.models import Attempt, Run, Worker
from runs.outcomes import Outcome
from runs.recovery.reconcile import recover
from runs.states import FailureKind, Status
from runs.transitions import EndResult, from_now
from tests.factories import make_attempt, make_run, make_worker
from tests.pages import page_of

pytestmark = pytest.mark.django_db

EXPIRED = -5.0
COUNTED = Outcome(Status.FAILED, FailureKind.LOST, "lost")
EXCUSED = Outcome(Status.FAILED, FailureKind.LOST, "lost", excused=True)


def lose(run: Run, ending: Outcome, times: int = 1) -> EndResult:
    """Claim the run for a worker of its own and lose it; returns what became of it the last time."""
    for _ in range(times):
        attempt = make_attempt(run)
        settled = transitions.end_attempt(attempt.key, ending)
    return settled


@pytest.mark.parametrize(
    ("values", "before", "ending", "expected"),
    [
        ({}, [COUNTED] * 2, COUNTED, EndResult.FINAL),
        ({}, [EXCUSED] * 9, COUNTED, EndResult.AGAIN),
        ({}, [EXCUSED] * 9 + [COUNTED] * 2, COUNTED, EndResult.FINAL),
        ({}, [COUNTED] * 2, EXCUSED, EndResult.AGAIN),
        ({}, [EXCUSED] * 10, EXCUSED, EndResult.FINAL),
        ({"on_lost": "fail"}, [], EXCUSED, EndResult.FINAL),
        ({"max_attempts": 1}, [], EXCUSED, EndResult.FINAL),
    ],
)
def test_an_excused_loss_is_not_counted(
    values: dict[str, Any], before: list[Outcome], ending: Outcome, expected: EndResult
) -> None:
    run = make_run(**values)
    for earlier in before:
        lose(run, earlier)
    assert lose(run, ending) is expected


def test_only_the_runs_that_were_lost_together_are_excused() -> None:
    worker = make_worker()
    together = [make_attempt(worker=worker, lease_s=EXPIRED) for _ in range(3)]
    alone = make_attempt(lease_s=EXPIRED)
    recover()
    excused = dict(Attempt.objects.values_list("pk", "excused"))
    assert [excused[attempt.pk] for attempt in (*together, alone)] == [True, True, True, False]


def test_a_second_quick_loss_has_the_run_wait_and_then_tried_alone() -> None:
    run = make_run()
    lose(run, EXCUSED)
    assert Run.objects.filter(pk=run.pk, not_before=None, alone_s=None).exists()
    lose(run, EXCUSED)
    assert Run.objects.filter(pk=run.pk, not_before__gt=from_now(3), alone_s=runs_settings().lost_alone_s).exists()


@pytest.mark.parametrize(
    ("waited_s", "sentence"),
    [
        (0.0, "Waiting for a worker without other runs, because the run was lost 2 times."),
        (runs_settings().lost_wait_s + 1, "Attempt 2 did not finish. Waiting for a free worker of queue “runs”."),
    ],
)
def test_a_suspect_says_that_it_waits_for_a_worker_without_runs(
    admin_client: Client, waited_s: float, sentence: str
) -> None:
    run = make_run()
    lose(run, EXCUSED, times=2)
    make_worker(queues=["runs"])
    Run.objects.filter(pk=run.pk).update(not_before=from_now(-waited_s))
    call_command("show_run", str(run.pk), stdout=(out := StringIO()))
    assert sentence in out.getvalue()
    assert sentence in admin_client.get(page_of(run)).content.decode()


def claim(worker: Worker) -> int | None:
    attempt = transitions.claim(["runs"], worker, lease_s=60)
    return attempt.run_id if attempt else None


@pytest.fixture
def suspect() -> Run:
    return make_run(alone_s=10.0, not_before=Now())


def test_a_suspect_waits_for_a_worker_without_runs(suspect: Run) -> None:
    busy, idle, other = make_worker(), make_worker(), make_run()
    make_attempt(worker=busy)
    assert [claim(busy), claim(busy), claim(idle)] == [other.pk, None, suspect.pk]


def test_a_suspect_that_has_waited_for_long_shares_a_worker(suspect: Run) -> None:
    long_ago = Now() - timedelta(seconds=runs_settings().lost_wait_s + 1)
    Run.objects.filter(pk=suspect.pk).update(not_before=long_ago)
    busy = make_worker()
    make_attempt(worker=busy)
    assert claim(busy) == suspect.pk


def test_a_worker_claims_nothing_beside_a_suspect_until_its_time_is_over(suspect: Run) -> None:
    worker = make_worker()
    assert claim(worker) == suspect.pk
    other = make_run()
    assert claim(worker) is None
    Attempt.objects.filter(run=suspect).update(alone_until=Now() - timedelta(seconds=1))
    assert claim(worker) == other.pk
