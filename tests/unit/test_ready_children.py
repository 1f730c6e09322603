"""Number of children that are kept ready, and its changes. The processes are not real."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from runs.forkserver import ready as ready_module
from runs.forkserver.ready import Limits, ReadyChildren, receive
from runs.forkserver.reaper import Reaper

FIRST_PID = 1 << 30
"""Above every pid of Linux: a signal to it reaches nothing."""


class Forks:
    """Forks that only keep the child's end of the socket."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.users: list[ReadyChildren] = []
        self.calm: list[bool] = []
        self.fails = False

    def __call__(self, connection: int, is_calm: bool) -> int:
        if self.fails:
            raise OSError("no more processes")
        self.ends.append(os.dup(connection))
        self.calm.append(is_calm)
        return FIRST_PID + len(self.ends)


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    for end in made.ends:
        os.close(end)
    for user in made.users:
        user.release_all()


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_module, "memory_is_short", lambda: False)
    monkeypatch.setattr(ready_module, "REFILL_AFTER_S", (0.0, 0.0))


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    ends = [*os.pipe(), *os.pipe()]
    yield ends
    for end in ends:
        os.close(end)


def children(forks: Forks, *, most: int = 3, idle_s: float = 60.0) -> tuple[ReadyChildren, Reaper]:
    reaper = Reaper()
    forks.users.append(ReadyChildren(forks, reaper, Limits(most, idle_s)))
    return forks.users[-1], reaper


def refill(ready: ReadyChildren) -> int:
    for _ in range(10):
        ready.work()
    return len(ready)


def test_spawns_that_find_none_raise_their_number_up_to_the_limit(forks: Forks, pipes: list[int]) -> None:
    ready, _ = children(forks)

    numbers = [refill(ready)]
    for burst in (2, 3, 9):
        for _ in range(burst):
            ready.hand_over(b"{}", pipes)
        numbers.append(refill(ready))
    assert numbers == [1, 2, 3, 3]


@pytest.mark.parametrize(("busy_s", "is_calm"), [(0.0, True), (60.0, False)])
def test_a_child_is_told_whether_spawns_come_one_after_the_other(
    forks: Forks, pipes: list[int], busy_s: float, is_calm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_module, "BUSY_S", busy_s)
    ready, _ = children(forks)
    refill(ready)
    ready.hand_over(b"{}", pipes)
    refill(ready)

    assert forks.calm == [False, is_calm]


def test_the_child_receives_the_spec_and_four_descriptors(forks: Forks, pipes: list[int]) -> None:
    ready, reaper = children(forks)
    refill(ready)
    pid = ready.hand_over(b'{"spec": 1}', pipes)

    received = receive(forks.ends.pop())
    assert pid is not None
    assert not reaper.is_reserved(pid)
    assert received is not None
    spec, fds = received
    assert spec == b'{"spec": 1}'
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in pipes]
    for fd in fds:
        os.close(fd)


def test_a_child_that_ended_is_passed_over_and_not_replaced_before_the_next_spawn(
    forks: Forks, pipes: list[int]
) -> None:
    ready, reaper = children(forks)
    refill(ready)
    reaper.release(FIRST_PID + 1)  # as if it were reaped

    assert refill(ready) == 0
    assert ready.due_in() is None
    assert ready.hand_over(b"{}", pipes) is None
    assert refill(ready) == 2


def test_a_child_that_has_closed_its_socket_gets_nothing(forks: Forks, pipes: list[int]) -> None:
    ready, reaper = children(forks)
    refill(ready)
    os.close(forks.ends.pop())

    assert ready.hand_over(b"{}", pipes) is None
    assert reaper.has_reserved  # until it is reaped


def test_one_is_kept_after_a_burst(forks: Forks, pipes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ready, _ = children(forks)
    for _ in range(3):
        ready.hand_over(b"{}", pipes)
    before = refill(ready)
    monkeypatch.setattr(ready_module, "SURPLUS_S", 0.0)

    assert (before, refill(ready)) == (3, 1)


def test_all_are_released_after_the_idle_time_until_the_next_spawn(forks: Forks, pipes: list[int]) -> None:
    ready, _ = children(forks, idle_s=0.0)
    ready.work()
    assert len(ready) == 1
    ready.work()

    assert refill(ready) == 0
    assert receive(forks.ends.pop()) is None
    assert ready.hand_over(b"{}", pipes) is None
    ready.work()
    assert len(ready) == 1


@pytest.mark.parametrize("cause", ["memory", "fork"])
def test_none_is_made_while_there_is_no_room_for_it(
    forks: Forks, pipes: list[int], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_module, "memory_is_short", lambda: cause == "memory")
    forks.fails = cause == "fork"
    ready, _ = children(forks)

    assert refill(ready) == 0
    assert ready.due_in() is None


def test_a_spec_that_would_make_the_server_wait_is_not_handed_over(forks: Forks, pipes: list[int]) -> None:
    ready, _ = children(forks)
    refill(ready)

    assert ready.hand_over(bytes(ready_module.HANDOVER_MAX_BYTES + 1), pipes) is None
    assert len(ready) == 1


def test_the_largest_spec_fits_into_the_socket(pipes: list[int]) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        assert ready_module.give(ours, bytes(ready_module.HANDOVER_MAX_BYTES), pipes)


def test_the_memory_of_this_machine_is_read() -> None:
    assert ready_module.memory_is_short() in (True, False)
