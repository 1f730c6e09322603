"""Scripted experiment, as far as it does no harm to the process of the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from experiments import ExperimentFailed, RunCancelled
from experiments.registry import load_one
from experiments.testing import RecordingContext
from tests.scripted.experiments_scripted import Scripted, ScriptedConfig, read_marks
from tests.waiting import wait_until


def scripted(behaviour: str, folder: Path, **settings: Any) -> RecordingContext[ScriptedConfig]:
    config = ScriptedConfig(behaviour=behaviour, append_to=str(folder / "marks-{run_id}"), **settings)
    return RecordingContext(config, workdir=folder)


def in_a_process(folder: Path, **settings: Any) -> subprocess.Popen[bytes]:
    """Runs it where it may die."""
    script = (
        "import sys, json; from pathlib import Path; from tests.unit.test_scripted import scripted, Scripted\n"
        "settings = json.loads(sys.argv[1]); folder = Path(sys.argv[2])\n"
        "Scripted().run(scripted(settings.pop('behaviour'), folder, **settings))"
    )
    return subprocess.Popen([sys.executable, "-c", script, json.dumps(settings), str(folder)])


def marks(folder: Path) -> list[str]:
    return [mark["mark"] for mark in read_marks(folder / "marks-1")]


def test_it_is_found_by_its_name() -> None:
    assert load_one("scripted").name == "scripted"


def test_an_unknown_behaviour_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"known are .*ok, raise, fail, exit"):
        ScriptedConfig(behaviour="nonsense")


def test_ok_does_some_of_everything_and_marks_its_start_and_end(tmp_path: Path) -> None:
    ctx = scripted("ok", tmp_path)

    assert Scripted().run(ctx) == {"count": 3, "attempt": 1, "seed": 0}
    assert marks(tmp_path) == ["start", "end"]
    assert list(ctx.artifacts) == ["hello.txt"]


@pytest.mark.parametrize(
    ("behaviour", "error"), [("raise", ValueError), ("fail", ExperimentFailed), ("exit", SystemExit)]
)
def test_it_ends_as_it_is_told(tmp_path: Path, behaviour: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        Scripted().run(scripted(behaviour, tmp_path))

    assert marks(tmp_path) == ["start", "end"]


@pytest.mark.parametrize(
    ("behaviour", "status"), [("os_exit", 1), ("segfault", -signal.SIGSEGV), ("sigkill", -signal.SIGKILL)]
)
def test_it_dies_as_it_is_told(tmp_path: Path, behaviour: str, status: int) -> None:
    assert in_a_process(tmp_path, behaviour=behaviour).wait(20) == status
    assert marks(tmp_path) == ["start"]


def test_a_second_execution_beside_a_living_one_is_noticed(tmp_path: Path) -> None:
    first = in_a_process(tmp_path, behaviour="hang", hold_s=60)
    wait_until(lambda: "start" in marks(tmp_path), what="the first execution")

    second = in_a_process(tmp_path, behaviour="ok")

    assert second.wait(20) == 0
    assert "overlap" in marks(tmp_path)
    first.kill()
    first.wait()
    assert in_a_process(tmp_path, behaviour="ok").wait(20) == 0
    assert marks(tmp_path).count("overlap") == 1


def test_it_resumes_where_it_died(tmp_path: Path) -> None:
    ctx = scripted("checkpoint", tmp_path, count=5, die_at={1: 3}, die_by="raise")
    with pytest.raises(RuntimeError):
        Scripted().run(ctx)

    summary = Scripted().run(ctx.next_attempt())

    assert summary == {"steps": 5, "total": 10, "resumed_from": 3, "attempt": 2}
    steps = [(mark["attempt"], mark["step"]) for mark in read_marks(tmp_path / "marks-1") if mark["mark"] == "step"]
    assert steps == [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)]


@pytest.mark.parametrize("behaviour", ["spawn_children", "daemonize"])
def test_it_names_the_processes_it_made(tmp_path: Path, behaviour: str) -> None:
    assert in_a_process(tmp_path, behaviour=behaviour, count=2, hold_s=60).wait(20) == 0

    spawned = [mark["child"] for mark in read_marks(tmp_path / "marks-1") if mark["mark"] == "spawned"]
    alive = [pid for pid in spawned if psutil.pid_exists(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert len(spawned) == 2
    assert alive == spawned


def test_it_cooperates_with_a_cancel(tmp_path: Path) -> None:
    ctx = scripted("cooperative", tmp_path)
    ctx.cancel_after(5)

    with pytest.raises(RunCancelled):
        Scripted().run(ctx)

    assert marks(tmp_path) == ["start", "finally", "end"]


def test_threads_log_all_their_lines(tmp_path: Path) -> None:
    ctx = scripted("threads", tmp_path, count=3, lines=10)

    assert Scripted().run(ctx) == {"lines": 30}
    assert len(ctx.lines) == 30
