"""Devices that an import opens, with stand-ins for the real ones."""

from __future__ import annotations

import pytest

from runs.child import surroundings
from runs.child.surroundings import Surroundings
from runs.forkserver.prctl import IS_LINUX

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="needs Linux")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/dev/nvidia0", "opened 1 device (/dev/nvidia0)"),
        ("/dev/dri/renderD128", "opened 1 device (/dev/dri/renderD128)"),
        ("/dev/kfd", "opened 1 device (/dev/kfd)"),
        ("anon_inode:[eventpoll]", "left 1 file or socket (anon_inode:[eventpoll]) open"),
        ("/dev/urandom", ""),
    ],
)
def test_open_devices(monkeypatch: pytest.MonkeyPatch, target: str, problem: str) -> None:
    before = Surroundings({0: "/dev/null"}, frozenset(), {}, frozenset())
    now = Surroundings({0: "/dev/null", 7: target}, frozenset(), {}, frozenset())

    assert before._opened(now) == problem


def test_mapped_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Surroundings({}, frozenset({"/dev/shm/known"}), {}, frozenset())
    now = Surroundings({}, frozenset({"/dev/shm/known", "/dev/nvidiactl"}), {}, frozenset())

    assert before._mapped(now) == "opened 1 device (/dev/nvidiactl)"


def test_own_mappings_are_found() -> None:
    assert all(not target.startswith("/dev/nvidia") for target in surroundings._shared())
