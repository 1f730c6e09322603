"""Cancelled means dead: from the request to the last process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from runs import services, transitions
from runs.models import Attempt, Run
from runs.states import Source, Status
from tests.scripted.experiments_scripted import read_marks
from tests.stack import Stack, ended, messages, processes_of
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance

IMPATIENT = {"interrupt_after_s": 0.5, "cancel_grace_s": 0.5, "kill_grace_s": 0.5}


def running(behaviour: str, *, limits: dict[str, Any] | None = None, says: str, **config: Any) -> Run:
    """A run that has said `says`."""
    run = services.launch("scripted", configuration={"behaviour": behaviour, **config}, limits=limits)
    wait_until(lambda: says in messages(run), what=f"{says!r}")
    return run


def steps(run: Run) -> Attempt:
    return run.attempts.get(number=1)


def test_a_pending_run_is_cancelled_at_once(open_database: None) -> None:
    run = services.launch("scripted", configuration={}, queue="nobody")
    assert services.cancel(run.pk, by="ada") == Status.CANCELLED


def test_cooperative_code_stops_at_once_and_cleans_up(stack: Stack, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    run = running("cooperative", says="cooperating", append_to=str(marks))
    asked = time.monotonic()
    services.cancel(run.pk, by="ada")
    ended(run)
    assert time.monotonic() - asked < 5
    assert (run.status, run.cancel_requested_by) == (Status.CANCELLED, "ada")
    assert "finally" in [mark["mark"] for mark in read_marks(marks)]
    assert messages(run, source=Source.LOG)[-1] == "cleaned up"
    attempt = steps(run)
    assert attempt.cancel_seen_at is not None
    assert attempt.interrupted_at is None


def test_code_that_sleeps_is_interrupted_and_its_finally_blocks_run(stack: Stack, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    run = running("hang", says="hanging", limits=IMPATIENT, append_to=str(marks))
    services.cancel(run.pk, by="ada")
    assert ended(run).status == Status.CANCELLED
    assert [mark["mark"] for mark in read_marks(marks)] == ["start", "end"]
    attempt = steps(run)
    assert attempt.interrupted_at is not None
    assert attempt.terminated_at is None


def test_code_that_ignores_everything_is_killed_step_by_step(stack: Stack) -> None:
    run = running("ignore_cancel", says="ignoring", limits=IMPATIENT)
    services.cancel(run.pk, by="ada")
    assert ended(run).status == Status.CANCELLED
    attempt = steps(run)
    times = [run.cancel_requested_at, attempt.interrupted_at, attempt.terminated_at, attempt.killed_at, attempt.gone_at]
    assert None not in times
    assert times == sorted(times, key=lambda at: at.timestamp() if at else 0)
    assert attempt.signal == 9


def test_busy_code_is_interrupted(stack: Stack) -> None:
    run = running("hang", mode="busy", says="hanging", limits=IMPATIENT)
    services.cancel(run.pk, by="ada")
    assert ended(run).status == Status.CANCELLED


@pytest.mark.parametrize("behaviour", ["spawn_children", "daemonize"])
def test_nothing_is_left_when_it_says_cancelled(stack: Stack, behaviour: str) -> None:
    run = services.launch("scripted", configuration={"behaviour": behaviour, "count": 3, "then": "hold"})
    wait_until(lambda: run.results.filter(key="pid").count() == 3, what="the pids of its processes")
    wait_until(lambda: len(processes_of(run)) >= 4, what="its child and the three it started")
    services.cancel(run.pk, by="ada")
    assert ended(run).status == Status.CANCELLED
    assert processes_of(run) == []


def test_a_cancel_is_heard_without_redis_telling(stack: Stack) -> None:
    """Flag and notice may be lost: the column decides."""
    run = running("cooperative", says="cooperating")
    transitions.request_cancel(run.pk, by="ada")
    assert ended(run).status == Status.CANCELLED


def test_the_cancel_of_a_finished_run_changes_nothing(stack: Stack) -> None:
    run = ended(services.launch("scripted", configuration={"behaviour": "ok"}))
    assert services.cancel(run.pk, by="ada") == Status.COMPLETED
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at) == (Status.COMPLETED, None)


def test_an_async_run_is_cancelled(stack: Stack) -> None:
    run = services.launch("scripted_async", configuration={"count": 1000, "pause_s": 0.1}, limits=IMPATIENT)
    wait_until(lambda: "scripted 0" in messages(run), what="its first line")
    services.cancel(run.pk, by="ada")
    assert ended(run).status == Status.CANCELLED
