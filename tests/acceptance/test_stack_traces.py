"""Stack traces: stacks and processes of a run that is busy, and of one that hangs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runs import services
from runs.models import Attempt, Run
from runs.states import FailureKind
from tests.recovery import has_said
from tests.stack import Stack, ended

pytestmark = pytest.mark.acceptance


def launch(behaviour: str, *, limits: dict[str, float] | None = None, **config: object) -> Run:
    return services.launch("scripted", configuration={"behaviour": behaviour, **config}, limits=limits)


def test_a_busy_run_is_looked_at_without_being_stopped(stack: Stack) -> None:
    run = has_said(launch("hang", mode="busy"), "hanging")
    first = services.inspect(run.pk, timeout_s=20)
    second = services.inspect(run.pk, timeout_s=20)
    assert first is not None
    assert second is not None
    assert "in hang" in first["stacks"]
    assert "in hang" in second["stacks"]
    assert second["stacks"].count("in hang") == 1, "only what was asked for now"
    assert second["at"] > first["at"]
    (process,) = second["processes"]
    assert process["pid"] == run.attempts.get().child_pid
    assert process["memory_bytes"] > 10_000_000
    assert services.is_active(run.pk)
    services.cancel(run.pk, by="ada")
    ended(run)


def test_its_processes_are_told_with_their_commands(stack: Stack) -> None:
    run = has_said(launch("spawn_children", count=2, then="hold"), "spawned")
    found = services.inspect(run.pk, timeout_s=20)
    assert found is not None
    root, *below = found["processes"]
    assert [(process["command"], process["parent"]) for process in below] == [("sleep 120.0", root["pid"])] * 2
    services.cancel(run.pk, by="ada")
    ended(run)


def test_the_command_shows_it_in_words(stack: Stack) -> None:
    run = has_said(launch("hang"), "hanging")
    done = subprocess.run(
        [sys.executable, "manage.py", "show_run", str(run.pk), "--stack"],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert "in hang" in done.stdout
    assert "from scratch" in done.stdout
    services.cancel(run.pk, by="ada")
    ended(run)


def test_a_run_that_is_not_executed_has_no_whereabouts(stack: Stack) -> None:
    assert services.inspect(ended(launch("ok")).pk) is None


def test_a_run_that_stalls_is_looked_at_by_itself(stack: Stack) -> None:
    run = ended(launch("hang", limits={"stall_timeout_s": 0.5, "cancel_grace_s": 1, "kill_grace_s": 1}))
    assert run.failure_kind == FailureKind.STALLED
    attempt = Attempt.objects.get(run=run)
    assert attempt.inspection is not None
    assert (attempt.inspection["why"], "in hang" in attempt.inspection["stacks"]) == ("stalled", True)
    assert attempt.certificate is not None
    assert attempt.certificate["limit"] == {"name": "stall_timeout_s", "value": 0.5}
    assert attempt.certificate["processes"][0]["pid"] == attempt.child_pid
