"""Children that were forked in advance: each is used once, and ends with the server, the worker or the idle time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from runs.exceptions import SpawnFailed
from runs.forkserver.client import ForkServer
from runs.forkserver.clock import lease_clock
from runs.forkserver.prctl import IS_LINUX
from runs.forkserver.ready import HANDOVER_MAX_BYTES
from runs.forkserver.spec import Fate
from tests.integration.spawning import Heard, alive, keep_alive, probe, ready_children, run, spec
from tests.waiting import wait_until

BURST = 50

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="ready children are told by their names, which Linux alone has")


@pytest.fixture(scope="module")
def fork_server(child_environment: None) -> Iterator[ForkServer]:
    """Start a shared server whose runs all start cold."""
    server = ForkServer()
    server.start()
    yield server
    server.stop()


@contextmanager
def started() -> Iterator[ForkServer]:
    """Run a fork server with the environment of now."""
    server = ForkServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def one_ready(server: ForkServer) -> psutil.Process:
    """Return the first of the ready children, once there is one."""
    return wait_until(lambda: ready_children(server.pid), what="a ready child")[0]


def test_a_run_gets_the_process_that_was_ready_and_another_follows(fork_server: ForkServer, tmp_path: Path) -> None:
    ready = one_ready(fork_server)
    heard = Heard(fork_server, spec(tmp_path, do="tree", path="hold"))
    heard.wait_for("spawned")

    assert heard.child.pid == ready.pid
    assert ready.name() == psutil.Process(fork_server.pid).name()
    assert one_ready(fork_server).pid != ready.pid
    heard.child.kill()
    heard.wait()


def test_a_ready_child_that_was_killed_costs_no_run(fork_server: ForkServer, tmp_path: Path) -> None:
    ready = one_ready(fork_server)
    ready.kill()
    wait_until(lambda: not ready.is_running(), what="the end of the ready child")

    assert probe(fork_server, tmp_path, "nothing").summary is None
    assert probe(fork_server, tmp_path, "nothing").exit.orphans_killed == 0


def test_a_spec_that_is_too_large_for_the_socket_arrives(fork_server: ForkServer, tmp_path: Path) -> None:
    one_ready(fork_server)
    restored = {"text": "x" * 2 * HANDOVER_MAX_BYTES}

    assert run(fork_server, spec(tmp_path, do="nothing", restored=restored)).summary is None


def test_an_expired_lease_uses_no_ready_child(own_fork_server: ForkServer, tmp_path: Path) -> None:
    ready = one_ready(own_fork_server)
    with pytest.raises(SpawnFailed, match="expired") as refused:
        own_fork_server.spawn(spec(tmp_path, do="nothing"), lambda _: None, before=lease_clock)

    assert refused.value.fate == Fate.LEASE
    assert alive([ready])


def test_a_frozen_ready_child_does_not_start_after_its_lease(own_fork_server: ForkServer, tmp_path: Path) -> None:
    ready = one_ready(own_fork_server)
    ready.suspend()
    keep_alive(own_fork_server, lease_clock() + 1.0)
    heard = Heard(own_fork_server, spec(tmp_path, do="nothing"))

    exit_ = heard.wait()
    assert heard.child.pid == ready.pid
    assert (exit_.signal, exit_.fate) == (signal.SIGKILL, Fate.LEASE)
    assert heard.records == []


def test_a_burst_executes_each_run_once(own_fork_server: ForkServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(BURST) as pool:
        all_ = list(pool.map(lambda number: probe(own_fork_server, tmp_path / str(number), "nothing"), range(BURST)))

    assert [len(heard.payloads("E")) for heard in all_] == [1] * BURST
    assert [heard.exit.status for heard in all_] == [0] * BURST
    assert 1 <= len(wait_until(lambda: ready_children(own_fork_server.pid), what="ready children")) <= 4


EDITED = textwrap.dedent(
    """
    from experiments import Experiment
    from pydantic import BaseModel

    class Edited(Experiment):
        class Config(BaseModel):
            pass

        def run(self, ctx):
            return {{"text": "{}"}}
    """
)


def test_an_edit_between_two_runs_is_seen(
    child_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(folder))
    with started() as server:
        for text in ("first", "other"):  # of the same size
            one_ready(server)
            (folder / "edited.py").write_text(EDITED.format(text))
            assert run(server, spec(tmp_path / text, experiment="edited")).summary == {"text": text}


def test_kill_9_of_the_server_ends_the_ready_children(own_fork_server: ForkServer) -> None:
    ready = one_ready(own_fork_server)
    os.kill(own_fork_server.pid or 0, signal.SIGKILL)

    wait_until(lambda: not alive([ready]), what="the end of the ready child")


def test_stop_ends_the_ready_children(child_environment: None) -> None:
    with started() as server:
        ready = one_ready(server)

    assert not alive([ready])


def test_an_idle_worker_keeps_none_until_its_next_run(
    child_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATHANOR_RUNS_READY_IDLE_S", "1")
    with started() as server:
        ready = one_ready(server)
        wait_until(lambda: not alive([ready]), what="the end of the idle time")

        assert probe(server, tmp_path, "nothing").summary is None
        assert one_ready(server).pid != ready.pid


def test_none_is_kept_if_the_settings_say_so(
    child_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATHANOR_RUNS_READY_CHILDREN_MAX", "0")
    with started() as server:
        for _ in range(2):
            probe(server, tmp_path, "nothing")

        assert not psutil.Process(server.pid).children()


WORKER = """
import time
import django; django.setup()
from runs.forkserver.client import ForkServer
server = ForkServer()
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_worker_ends_the_ready_children(child_environment: None, number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        server = int(worker.stdout.readline())
        ready = wait_until(lambda: ready_children(server), what="a ready child")
        worker.send_signal(number)

        wait_until(lambda: not alive([*ready, psutil.Process(server)] if psutil.pid_exists(server) else ready))
