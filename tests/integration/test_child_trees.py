"""Whatever a child starts is gone with it, and whoever of worker, keeper, server and child dies first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runs.exceptions import SpawnFailed
from runs.forkserver.client import ForkServer
from runs.forkserver.clock import lease_clock
from runs.forkserver.ready import READY_NAME
from runs.forkserver.template import TEMPLATE_NAME
from runs.recovery import orphans
from runs.recovery.orphans import OrphansAlive, kill_orphans
from tests.integration.spawning import Heard, alive, keep_alive, kept_processes, probe, run, seconds, spec
from tests.waiting import wait_until

TREE = 6
"""Processes below the child of `tree`, once all are up."""


def with_tree(server: ForkServer, folder: Path, then: str) -> tuple[Heard, list[psutil.Process]]:
    """A child with its whole tree up, and the tree."""
    heard = Heard(server, spec(folder, do="tree", path=then))
    heard.wait_for("spawned")
    wait_until(lambda: len(heard.tree()) >= TREE, what="the tree")
    return heard, heard.tree()


def only_the_server_is_left(server: ForkServer) -> bool:
    assert server.pid is not None
    return psutil.Process(server.pid).children() == kept_processes(server.pid, READY_NAME, TEMPLATE_NAME)


# Trees


@pytest.mark.parametrize("then", ["return", "raise", "crash"])
def test_an_end_by_itself_takes_the_tree_along(fork_server: ForkServer, tmp_path: Path, then: str) -> None:
    heard = run(fork_server, spec(tmp_path, do="tree", path=then))

    (below,) = [result[4] for result in heard.payloads("R")]
    assert len(below) == TREE
    assert not [pid for pid in below if psutil.pid_exists(pid)]
    assert heard.exit.orphans_killed == TREE


@pytest.mark.parametrize("then", ["hold", "stop"])
def test_kill_takes_the_tree_along(fork_server: ForkServer, tmp_path: Path, then: str) -> None:
    heard, tree = with_tree(fork_server, tmp_path, then)
    heard.child.kill()

    assert seconds(heard.wait) < 10
    assert not alive(tree)
    assert heard.exit.signal == signal.SIGKILL
    assert heard.exit.orphans_killed >= TREE


def test_a_daemon_that_forks_all_the_time_is_caught(fork_server: ForkServer, tmp_path: Path) -> None:
    probe(fork_server, tmp_path, "restless")

    wait_until(lambda: only_the_server_is_left(fork_server))  # a ready child may be starting


def test_the_end_of_one_child_is_not_that_of_another(fork_server: ForkServer, tmp_path: Path) -> None:
    other, tree = with_tree(fork_server, tmp_path, "hold")
    run(fork_server, spec(tmp_path, do="tree", path="crash"))

    assert len(alive(tree)) == len(tree)
    assert not other.has_ended
    other.child.kill()
    other.wait()


def test_closing_the_pipes_ends_the_child(fork_server: ForkServer, tmp_path: Path) -> None:
    heard, tree = with_tree(fork_server, tmp_path, "hold")
    heard.child.close()

    wait_until(lambda: heard.has_ended)
    assert not alive(tree)


# Who dies first


def test_kill_9_of_the_server_ends_its_children_and_a_new_one_follows(
    own_fork_server: ForkServer, tmp_path: Path
) -> None:
    heard, tree = with_tree(own_fork_server, tmp_path, "hold")
    assert own_fork_server.pid is not None
    os.kill(own_fork_server.pid, signal.SIGKILL)

    exit_ = heard.wait()
    assert (exit_.status, exit_.signal) == (None, signal.SIGKILL)
    assert not alive(tree)
    assert probe(own_fork_server, tmp_path, "nothing").summary is None


def test_kill_9_of_the_keeper_ends_the_children_too(own_fork_server: ForkServer, tmp_path: Path) -> None:
    heard, tree = with_tree(own_fork_server, tmp_path, "hold")
    keeper = psutil.Process(own_fork_server.pid).parent()
    assert keeper is not None
    keeper.kill()

    heard.wait()
    wait_until(lambda: not alive(tree))


def test_the_deadline_ends_the_children_until_there_is_a_new_one(own_fork_server: ForkServer, tmp_path: Path) -> None:
    keep_alive(own_fork_server, lease_clock() + 60)
    heard, tree = with_tree(own_fork_server, tmp_path, "hold")
    keep_alive(own_fork_server, lease_clock() + 0.3)

    assert seconds(heard.wait) < 10
    assert not alive(tree)
    with pytest.raises(SpawnFailed, match="expired"):
        Heard(own_fork_server, spec(tmp_path, do="nothing"))
    keep_alive(own_fork_server, lease_clock() + 60)
    assert probe(own_fork_server, tmp_path, "nothing").summary is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that asks its fork server for a sign of life ten times a second, and waits half a second for it."""
    monkeypatch.setattr("runs.forkserver.server_process.PONG_TIMEOUT_S", 0.5)
    monkeypatch.setattr("runs.forkserver.server_process.PING_EVERY_S", 0.1)


def keeper_and_server(of: ForkServer) -> dict[str, psutil.Process]:
    server = psutil.Process(of.pid)
    keeper = server.parent()
    assert keeper is not None
    return {"keeper": keeper, "server": server}


@pytest.mark.parametrize("stopped", [["server"], ["keeper", "server"]])
def test_a_server_that_was_stopped_is_continued_with_its_children(
    own_fork_server: ForkServer, tmp_path: Path, impatient: None, stopped: list[str]
) -> None:
    heard, tree = with_tree(own_fork_server, tmp_path, "hold")
    both = keeper_and_server(own_fork_server)
    for name in stopped:
        both[name].suspend()

    wait_until(lambda: all(p.status() != psutil.STATUS_STOPPED for p in both.values()), what="both to go on")
    assert probe(own_fork_server, tmp_path, "nothing").summary is None
    assert own_fork_server.pid == both["server"].pid
    assert len(alive(tree)) == TREE
    heard.child.kill()
    heard.wait()


@pytest.mark.parametrize("killed", [[], ["server"], ["keeper"]])
@pytest.mark.parametrize("stopped", [["server"], ["keeper"], ["keeper", "server"]])
def test_the_exit_of_a_child_is_told_when_nothing_is_left_whoever_is_stopped(
    own_fork_server: ForkServer,
    tmp_path: Path,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    stopped: list[str],
    killed: list[str],
) -> None:
    monkeypatch.setattr("runs.forkserver.server_process.ServerProcess._continue", lambda self: None)
    heard, tree = with_tree(own_fork_server, tmp_path, "hold")
    both = keeper_and_server(own_fork_server)
    for name in stopped:
        both[name].suspend()
    for name in killed or ["server"]:
        both[name].kill()

    heard.wait()
    assert alive(tree) == []
    assert probe(own_fork_server, tmp_path, "nothing").summary is None


TRACED = [
    (signal.SIGSEGV, signal.SIGSEGV),
    (signal.SIGTRAP, None),
    (signal.SIGCHLD, None),
    (signal.SIGRTMIN, signal.SIGRTMIN),
]


@pytest.mark.parametrize(("sent", "expected"), TRACED)
def test_a_child_that_asks_to_be_traced_ends_as_if_it_had_not(
    fork_server: ForkServer, tmp_path: Path, sent: int, expected: int | None
) -> None:
    server = fork_server.pid
    exit_ = probe(fork_server, tmp_path, "be_traced", size=int(sent)).exit

    assert (exit_.signal, fork_server.pid) == (expected, server)


def test_stop_ends_everything_and_tells_it(child_environment: None, tmp_path: Path) -> None:
    server = ForkServer()
    server.start()
    heard, tree = with_tree(server, tmp_path, "hold")
    pid = server.pid
    server.stop()

    assert heard.has_ended
    assert not alive(tree)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    with pytest.raises(SpawnFailed):
        Heard(server, spec(tmp_path, do="nothing"))


def test_a_server_that_cannot_load_says_why(child_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no_such_settings")
    server = ForkServer()

    with pytest.raises(SpawnFailed, match="No module named 'no_such_settings'"):
        server.start()
    monkeypatch.undo()
    server.start()
    server.stop()


WORKER = """
import sys, time
from pathlib import Path
import django; django.setup()
from runs.forkserver.client import ForkServer
from runs.forkserver.clock import lease_clock
from tests.integration.spawning import keep_alive, spec
server = ForkServer()
server.start()
keep_alive(server, lease_clock() + float(sys.argv[2]))
child = server.spawn(spec(Path(sys.argv[1]), do="tree", path="hold"), print)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def worker(child_environment: None, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker with one child."""
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "3"], stdout=subprocess.PIPE, text=True) as it:
        yield it
        it.kill()


def tree_of(worker: subprocess.Popen[str]) -> list[psutil.Process]:
    """Its child and everything below that, once all are up."""
    assert worker.stdout is not None
    child = psutil.Process(int(worker.stdout.readline()))
    wait_until(lambda: len(child.children(recursive=True)) >= TREE, what="the tree")
    return [child, *child.children(recursive=True)]


@pytest.mark.parametrize(("number", "within_s"), [(signal.SIGKILL, 1.0), (signal.SIGSTOP, 3.0)])
def test_a_worker_that_dies_or_freezes_takes_everything_along(
    worker: subprocess.Popen[str], number: int, within_s: float
) -> None:
    tree = tree_of(worker)
    worker.send_signal(number)

    wait_until(lambda: not alive(tree), timeout_s=within_s + 1, what="the end of the tree")


@pytest.mark.parametrize("stopped", [["server"], ["keeper"], ["keeper", "server"]])
def test_what_a_killed_worker_leaves_is_ended_whoever_is_stopped(
    worker: subprocess.Popen[str], stopped: list[str]
) -> None:
    tree = tree_of(worker)
    server = tree[0].parent()
    both = {"keeper": server and server.parent(), "server": server}
    for name in stopped:
        process = both[name]
        assert process is not None
        process.suspend()
    worker.kill()
    worker.wait()

    kill_orphans()
    wait_until(lambda: not alive(tree), what="the end of what had lost its mark")


def test_runs_wait_while_what_a_killed_worker_left_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as left:  # without a mark: a worker of another test would kill it
        process = psutil.Process(left.pid)
        monkeypatch.setattr(orphans, "orphan_processes", lambda: [process] if process.is_running() else [])
        with monkeypatch.context() as powerless:
            powerless.setattr(psutil.Process, "kill", lambda self: None)
            with pytest.raises(OrphansAlive, match=str(left.pid)):
                kill_orphans(patience_s=0.0, limit_s=0.5)
        left.kill()
        left.wait()

        assert kill_orphans(patience_s=0.0) == 0
