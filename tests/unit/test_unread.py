"""Unread bytes in pipes are noticed by their writer, with either way of looking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.child import unread

LINUX = Path("/proc/self/fd").exists()


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    made = [os.pipe(), os.pipe()]
    yield made
    for fd in (fd for pair in made for fd in pair):
        os.close(fd)


@pytest.fixture(params=["one call", "a call each"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "a call each":

        def refuse(fds: object) -> None:
            raise OSError("no /proc")

        monkeypatch.setattr(unread, "_by_epoll", refuse)
    elif not LINUX:
        pytest.skip("needs /proc")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("which", [0, 1])
def test_bytes_are_noticed_until_they_are_read(pipes: list[tuple[int, int]], which: int) -> None:
    has_unread = unread.unread_in([write for _, write in pipes])
    assert not has_unread()
    os.write(pipes[which][1], b"raw")
    assert has_unread()
    assert has_unread()
    os.read(pipes[which][0], 2)
    assert has_unread()
    os.read(pipes[which][0], 2)
    assert not has_unread()


@pytest.mark.usefixtures("way")
def test_a_forked_process_notices_them_too(pipes: list[tuple[int, int]]) -> None:
    has_unread = unread.unread_in([write for _, write in pipes])
    os.write(pipes[0][1], b"raw")
    pid = os.fork()
    if pid == 0:
        os._exit(0 if has_unread() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_pipes_nothing_is_unread() -> None:
    assert not unread.unread_in([])()


def test_what_is_no_pipe_is_asked_one_by_one(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        assert not unread.unread_in([file.fileno()])()
