"""Ends of a run leave the same as ends of a script: each way to end is done as a script and as a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runs.forkserver.client import ForkServer
from tests.integration.spawning import EXPERIMENTS, Heard, run, spec, warm_up
from tests.waiting import wait_until

PROJECT = Path(__file__).parent.parent.parent
METHODS = ("fork", "spawn", "forkserver")
STREAMS = ("print", "unflushed", "stderr", "descriptor")
SCRIPT = "import sys, finishing, pathlib as p; finishing.finish(sys.argv[1], p.Path(sys.argv[2]), *sys.argv[3:])"


@dataclass(frozen=True)
class Left:
    """Observable result of an end."""

    status: int
    """The exit status of a script."""
    lines: list[str]
    files: set[str]


def script(way: str, path: Path, method: str, stream: str) -> Left:
    """Do it in an interpreter of its own."""
    path.mkdir()
    command = [sys.executable, "-u", "-c", SCRIPT, way, str(path), method, stream]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXPERIMENTS), str(PROJECT)])}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)
    text = done.stderr if stream == "stderr" else done.stdout
    return Left(done.returncode, written(text.splitlines()), files(path))


def as_run(server: ForkServer, way: str, path: Path, method: str, stream: str) -> tuple[Left, Heard]:
    """Do it in a run."""
    path.mkdir()
    heard = run(server, spec(path, "finishing", way=way, path=str(path), method=method, stream=stream))
    outcome = heard.end["outcome"] if heard.end else "none"
    code = heard.end.get("exit_code", 1) if heard.end else -(heard.exit.signal or 0)
    status = {"returned": 0, "raised": 1}.get(outcome, code) or heard.exit.status or 0
    lines = heard.lines("stderr" if stream == "stderr" else "stdout")
    lines += heard.raw[2 if stream == "stderr" else 1].decode().splitlines()
    return Left(status, written(lines), files(path)), heard


def written(lines: list[str]) -> list[str]:
    """Those of the way itself, without tracebacks."""
    return sorted(line for line in lines if line.startswith(">"))


def files(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()} - {"run"}


def shared_memory_of(heard: Heard, path: Path) -> list[str]:
    """Return the files of a run in /dev/shm, by its pid or by the name that it wrote down."""
    name = path / "shm-name"
    marks = [f"_{heard.child.pid}_", *([name.read_text()] if name.exists() else [])]
    return [file.name for file in Path("/dev/shm").iterdir() if any(mark in file.name for mark in marks)]


def compare(server: ForkServer, folder: Path, way: str, method: str = "fork", stream: str = "print") -> Heard:
    """Both leave the same, and the run nothing that is ours."""
    expected = script(way, folder / "script", method, stream)
    left, heard = as_run(server, way, folder / "run", method, stream)

    assert left == expected, heard.records + heard.raw[2].splitlines()
    assert b"runs/child" not in heard.raw[2], heard.raw[2].decode()
    assert not [line for line in heard.lines() if "runs/child" in line]
    assert shared_memory_of(heard, folder / "run") == []
    return heard


# One process, and those that it forks


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("way", ["returns", "raises", "exits", "exit_functions"])
def test_an_end_of_one_process(cold_fork_server: ForkServer, tmp_path: Path, way: str, stream: str) -> None:
    heard = compare(cold_fork_server, tmp_path, way, stream=stream)

    assert heard.exit.status == 0
    assert [letter for letter, _ in heard.records][-1] == "E"


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(
    "way",
    [
        "fork_returns",
        "fork_raises",
        "fork_exits",
        "fork_exits_with_a_text",
        "fork_exits_at_once",
        "fork_has_an_exit_function",
        "fork_has_a_thread",
        "fork_returns_nonsense",
        "fork_outlives_the_parent",
        "fork_in_an_exit_function",
    ],
)
def test_the_exit_of_a_forked_process_is_its_own(
    cold_fork_server: ForkServer, tmp_path: Path, way: str, stream: str
) -> None:
    heard = compare(cold_fork_server, tmp_path, way, stream=stream)

    assert heard.payloads("E") == [{"outcome": "returned"}]
    assert heard.exit.status == 0


# Work that goes on


@pytest.mark.parametrize("way", ["thread", "thread_after_an_error", "daemon_thread", "thread_executor"])
def test_threads_are_waited_for_as_in_a_script(cold_fork_server: ForkServer, tmp_path: Path, way: str) -> None:
    compare(cold_fork_server, tmp_path, way)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "way", ["process", "process_raises", "daemon_process", "process_executor", "open_pool", "manager", "queue"]
)
def test_processes_are_waited_for_as_in_a_script(
    cold_fork_server: ForkServer, tmp_path: Path, way: str, method: str
) -> None:
    heard = compare(cold_fork_server, tmp_path, way, method)

    assert heard.exit.status == 0
    assert not [line for line in heard.lines("system") if line.startswith("Ended")]


@pytest.mark.parametrize(
    "way",
    [
        "shared",
        "leaked",
        "leaked_and_exits_at_once",
        "leaked_and_killed",
        "joblib_parallel",
        "joblib_shares_memory",
        "scikit_learn",
    ],
)
def test_nothing_is_left_in_shared_memory(cold_fork_server: ForkServer, tmp_path: Path, way: str) -> None:
    heard = compare(cold_fork_server, tmp_path, way)

    assert not [line for line in heard.lines("system") if line.startswith("Ended")]


def test_a_killed_run_leaves_no_shared_memory(cold_fork_server: ForkServer, tmp_path: Path) -> None:
    """Its workers are killed with it, and the resource tracker sees that. A script's go on until they are idle."""
    (tmp_path / "run").mkdir()
    heard = run(cold_fork_server, spec(tmp_path, "finishing", way="joblib_and_killed", path=str(tmp_path / "run")))

    assert heard.exit.signal == signal.SIGKILL
    assert shared_memory_of(heard, tmp_path / "run") == []


# Warm runs


@pytest.fixture(scope="module")
def warm_fork_server(child_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """A fork server with a template of `finishing`."""
    server = ForkServer()
    server.start()
    path = str(tmp_path_factory.mktemp("warm"))
    assert warm_up(server, Path(path), "finishing", way="returns", path=path).startswith("warm")
    yield server
    server.stop()


@pytest.mark.parametrize(
    "way",
    [
        "raises",
        "exits",
        "exit_functions",
        "fork_returns",
        "fork_exits_at_once",
        "fork_has_an_exit_function",
        "thread",
        "daemon_thread",
        "process_executor",
        "manager",
        "leaked_and_exits_at_once",
        "joblib_shares_memory",
    ],
)
def test_a_warm_run_ends_as_a_script_does(warm_fork_server: ForkServer, tmp_path: Path, way: str) -> None:
    assert compare(warm_fork_server, tmp_path, way).child.start.startswith("warm")


@pytest.mark.parametrize("method", METHODS)
def test_processes_of_a_warm_run_are_waited_for(warm_fork_server: ForkServer, tmp_path: Path, method: str) -> None:
    assert compare(warm_fork_server, tmp_path, "process", method).child.start.startswith("warm")


# Work that does not end


@pytest.fixture(scope="module")
def impatient(child_environment: None) -> Iterator[ForkServer]:
    """A fork server with children that wait two seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATHANOR_RUNS_EXIT_WAIT_S", "2")
        server = ForkServer()
        server.start()
        yield server
        server.stop()


@pytest.mark.parametrize(
    ("way", "named"),
    [
        ("endless_thread", "1 thread (uploader)"),
        ("endless_process", "1 process (trainer, pid "),
        ("endless_executor", "1 thread (pool_0)"),
        ("endless_exit_function", "the exit function sleep_long ("),
    ],
)
def test_what_works_on_beyond_the_limit_is_named_and_ended(
    impatient: ForkServer, tmp_path: Path, way: str, named: str
) -> None:
    heard = run(impatient, spec(tmp_path, "finishing", way=way, path=str(tmp_path)))

    first, second, *_ = heard.lines("system")
    assert first.startswith(f"run() has ended. Waiting up to 2 s for {named}")
    assert second.startswith(f"Waited 2 s after the end of run() and stopped {named}")
    assert heard.end == {"outcome": "returned"}
    assert heard.exit.status == 0


def test_a_wait_is_logged(cold_fork_server: ForkServer, tmp_path: Path) -> None:
    heard = run(cold_fork_server, spec(tmp_path, "finishing", way="slow_thread", path=str(tmp_path)))

    assert heard.lines("system") == [
        "run() has ended. Waiting up to 300 s for 1 thread (uploader)",
        "Waited 2 s for 1 thread (uploader)",
    ]


def test_a_program_that_is_still_running_is_named(cold_fork_server: ForkServer, tmp_path: Path) -> None:
    heard = run(cold_fork_server, spec(tmp_path, "finishing", way="endless_program", path=str(tmp_path)))

    (line,) = heard.lines("system")
    assert line.startswith("Ended 1 process (sleep 61, pid ")


@pytest.mark.parametrize("end", ["interrupt", "cancel", "stopping"])
def test_a_wait_ends_early_when_the_run_is_stopped(
    child_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    monkeypatch.setenv("ATHANOR_RUNS_END_GRACE_S", "0.2")
    server = ForkServer()
    server.start()
    heard = Heard(server, spec(tmp_path, "finishing", way="endless_thread", path=str(tmp_path)))
    wait_until(lambda: heard.read().lines("system"), what="the wait")
    if end == "interrupt":
        heard.child.interrupt()
    else:
        heard.child.send({"do": end})

    heard.wait(3)
    server.stop()
    assert heard.end == {"outcome": "returned"}
    assert "stopped 1 thread (uploader)" in heard.lines("system")[-1]


def test_an_interpreter_that_hangs_at_its_end_is_ended_and_its_stacks_are_kept(
    impatient: ForkServer, tmp_path: Path
) -> None:
    """No thread can run `check`, since C code holds the interpreter's lock: faulthandler's timer ends the process."""
    about = spec(tmp_path, "hanging", hard_limit_extra_s=0.5)
    heard = run(impatient, about)

    stacks = about.stacks_path.read_text()
    assert stacks.startswith("Timeout (0:00:02.500000)!\n")
    assert " in hang_in_c\n" in stacks
    assert " in finalize\n" in stacks
    assert heard.lines("log") == ["returning"]
    assert heard.lines("system") == []
    assert heard.end is None
    assert (heard.exit.status, heard.exit.signal) == (1, None)
