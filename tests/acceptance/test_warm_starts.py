"""Runs that a worker starts from a template: they end as others do, and their provenance says how they started."""

from __future__ import annotations

from typing import Any

import pytest

from runs import services
from runs.forkserver.prctl import IS_LINUX
from runs.lines.ranges import gaps
from runs.models import Run
from runs.states import Source, Status
from tests.stack import Stack, ended, messages, processes_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(not IS_LINUX, reason="warm starts need Linux")]


def launch(behaviour: str, **config: Any) -> Run:
    return services.launch("scripted_warm", configuration={"behaviour": behaviour, **config})


def start_of(run: Run) -> str:
    return str(run.attempts.latest("number").provenance.get("start", ""))


@pytest.fixture
def warm(stack: Stack) -> Stack:
    """Return the stack once runs of the experiment start warm."""
    wait_until(lambda: start_of(ended(launch("ok"))).startswith("warm, "), timeout_s=60, what="a warm start")
    return stack


def test_a_warm_run_completes_with_everything_that_it_said(warm: Stack) -> None:
    run = ended(launch("ok", count=5))

    attempt = run.attempts.get()
    assert (run.status, run.error) == (Status.COMPLETED, "")
    assert start_of(run).startswith("warm, without ")
    assert messages(run, source=Source.LOG) == [f"scripted {n}" for n in range(5)]
    assert not gaps(attempt.lines_stored, attempt.lines_emitted or 0)


@pytest.mark.parametrize("behaviour", ["raise", "segfault", "sigkill", "os_exit"])
def test_a_warm_run_that_fails_harms_no_other(warm: Stack, behaviour: str) -> None:
    other = launch("ok", count=20, pause_s=0.1)
    run = ended(launch(behaviour))

    assert run.status == Status.FAILED
    assert ended(other).status == Status.COMPLETED
    assert start_of(run).startswith("warm")


@pytest.mark.parametrize("behaviour", ["spawn_children", "daemonize"])
def test_nothing_is_left_when_a_warm_run_is_cancelled(warm: Stack, behaviour: str) -> None:
    run = launch(behaviour, count=3, then="hold")
    wait_until(lambda: run.results.filter(key="pid").count() == 3, what="the pids of its processes")
    services.cancel(run.pk, by="ada")

    assert ended(run).status == Status.CANCELLED
    assert processes_of(run) == []
