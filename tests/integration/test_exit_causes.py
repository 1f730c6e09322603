"""Causes of an exit of a child that is not its own, as reported to the worker."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from runs.exceptions import SpawnFailed
from runs.forkserver.client import Fate, ForkServer
from runs.forkserver.clock import lease_clock
from tests.integration.spawning import Heard, alive, keep_alive, spec
from tests.waiting import wait_until


def running(server: ForkServer, folder: Path) -> Heard:
    heard = Heard(server, spec(folder, do="wait_uninterrupted"))
    wait_until(lambda: heard.read().payloads("H"), timeout_s=20, what="its hello")
    return heard


def test_children_of_a_worker_that_does_not_renew_end_by_its_lease(own_fork_server: ForkServer, tmp_path: Path) -> None:
    heard = running(own_fork_server, tmp_path)
    keep_alive(own_fork_server, lease_clock() + 0.3)
    exit_ = heard.wait()
    assert (exit_.signal, exit_.fate) == (signal.SIGKILL, Fate.LEASE)


def test_children_of_a_killed_server_end_by_it(own_fork_server: ForkServer, tmp_path: Path) -> None:
    heard = running(own_fork_server, tmp_path)
    assert own_fork_server.pid is not None
    os.kill(own_fork_server.pid, signal.SIGKILL)
    assert heard.wait().fate == Fate.SERVER


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("cause", ["server", "lease"])
def test_an_exit_that_is_not_its_own_says_how_many_others_there_were(
    own_fork_server: ForkServer, tmp_path: Path, cause: str, count: int
) -> None:
    children = [running(own_fork_server, tmp_path / str(number)) for number in range(count)]
    if cause == "lease":
        keep_alive(own_fork_server, lease_clock())
    else:
        assert own_fork_server.pid is not None
        os.kill(own_fork_server.pid, signal.SIGKILL)
    assert [child.wait().company for child in children] == [count - 1] * count


def test_leases_that_expire_one_after_the_other_have_one_cause(own_fork_server: ForkServer, tmp_path: Path) -> None:
    children = [running(own_fork_server, tmp_path / str(number)) for number in range(2)]
    keys = [str(child.spec.key) for child in children]
    exits = []
    for expired in (1, 2):
        until = dict.fromkeys(keys[expired:], lease_clock() + 60) | dict.fromkeys(keys[:expired], 1.0)
        own_fork_server.deadlines.publish({"until": until})
        exits.append(children[expired - 1].wait())
    assert [(exit_.fate, exit_.company) for exit_ in exits] == [(Fate.LEASE, 1), (Fate.LEASE, 1)]


def test_a_child_that_is_killed_by_others_has_no_fate_but_its_own(own_fork_server: ForkServer, tmp_path: Path) -> None:
    heard = running(own_fork_server, tmp_path)
    os.kill(heard.child.pid, signal.SIGKILL)
    exit_ = heard.wait()
    assert (exit_.signal, exit_.fate) == (signal.SIGKILL, Fate.NONE)


def test_no_child_is_started_for_an_attempt_that_may_have_passed_on(
    own_fork_server: ForkServer, tmp_path: Path
) -> None:
    with pytest.raises(SpawnFailed) as refused:
        own_fork_server.spawn(spec(tmp_path, do="nothing"), lambda exit_: None, before=lambda: lease_clock() - 0.1)
    assert refused.value.fate == Fate.LEASE


def test_no_child_is_started_after_the_lease_of_all(own_fork_server: ForkServer, tmp_path: Path) -> None:
    keep_alive(own_fork_server, lease_clock() - 1)
    with pytest.raises(SpawnFailed) as refused:
        own_fork_server.spawn(spec(tmp_path, do="nothing"), lambda exit_: None)
    assert refused.value.fate == Fate.LEASE
    keep_alive(own_fork_server, lease_clock() + 60)
    assert Heard(own_fork_server, spec(tmp_path, do="nothing")).wait().status == 0


@pytest.mark.parametrize("victim", ["keeper", "server"])
def test_a_spawn_that_meets_a_dying_server_gets_another(
    own_fork_server: ForkServer, tmp_path: Path, victim: str
) -> None:
    assert own_fork_server.pid is not None
    server = psutil.Process(own_fork_server.pid)
    killed = server if victim == "server" else server.parent()
    assert killed is not None
    killed.kill()
    wait_until(lambda: alive([killed]) == [], what="its end")
    assert Heard(own_fork_server, spec(tmp_path, do="nothing")).wait().status == 0
    assert own_fork_server.pid != server.pid


@pytest.mark.parametrize("victim", ["keeper", "server"])
def test_a_spawn_whose_server_is_killed_while_it_loads_gets_another(
    own_fork_server: ForkServer, tmp_path: Path, victim: str
) -> None:
    assert own_fork_server.pid is not None
    os.kill(own_fork_server.pid, signal.SIGKILL)
    loading = Killer(victim)
    loading.start()

    assert Heard(own_fork_server, spec(tmp_path, do="nothing")).wait().status == 0

    loading.join()
    assert loading.killed


class Killer(threading.Thread):
    """Kills the next fork server, or its keeper, before it can be ready."""

    def __init__(self, victim: str) -> None:
        super().__init__(daemon=True)
        self._victim = victim
        self._known = {process.pid for process in self._keepers()}
        self.killed = False

    def run(self) -> None:
        wait_until(self._kill, timeout_s=20, what="a fork server that loads")
        self.killed = True

    def _kill(self) -> bool:
        """Kill the process; return whether there was one."""
        for keeper in self._keepers():
            with suppress(psutil.Error):
                if keeper.pid not in self._known and (servers := keeper.children()):
                    (keeper if self._victim == "keeper" else servers[0]).kill()
                    return True
        return False

    @staticmethod
    def _keepers() -> list[psutil.Process]:
        return psutil.Process().children()


def test_the_lease_is_looked_at_when_there_is_a_server_to_start_from(
    own_fork_server: ForkServer, tmp_path: Path
) -> None:
    """A new one may take longer to load than a lease lasts."""
    killed = own_fork_server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    asked: list[int | None] = []

    def deadline() -> float:
        asked.append(own_fork_server.pid)
        return lease_clock() + 60

    own_fork_server.spawn(spec(tmp_path, do="nothing"), lambda exit_: None, before=deadline).close()

    assert asked[-1] not in (None, killed)
    assert asked[-1] == own_fork_server.pid
