"""Capacity of a worker, and its limits, which are no failure of a run."""

from __future__ import annotations

import errno
import resource

import pytest

from runs.exceptions import SpawnFailed, is_exhaustion
from runs.forkserver.spec import Fate
from runs.worker import capacity


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Soft and hard limit of open files, changed only here."""
    current = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(current))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: current.__setitem__(slice(None), new))
    return current


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, 4096, 4096),
        (1024, resource.RLIM_INFINITY, capacity.FILES_MAX),
        (1024, 10**6, capacity.FILES_MAX),
        (4096, 4096, 4096),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, capacity.FILES_MAX),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_it_helps(limits: list[int], soft: int, hard: int, raised: int) -> None:
    limits[:] = soft, hard
    assert capacity.raise_file_limit() == raised


def test_more_slots_than_fit_are_refused_with_the_number_that_does(limits: list[int]) -> None:
    fitting = capacity.slots_that_fit(1024)
    capacity.refuse_too_many_slots(fitting)
    with pytest.raises(SystemExit, match=rf"`-c {fitting}` at most.*`ulimit -n {capacity.files_needed(fitting + 1)}`"):
        capacity.refuse_too_many_slots(fitting + 1)


def test_there_is_room_until_the_files_are_used_up(limits: list[int]) -> None:
    assert capacity.has_room()
    limits[0] = capacity.FILES_PER_SLOT
    assert not capacity.has_room()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENFILE, "File table overflow"), True),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (SpawnFailed("no pipes", Fate.EXHAUSTED), True),
        (SpawnFailed("no experiment"), False),
        (SpawnFailed("late", Fate.LEASE), False),
        (OSError(errno.ENOSPC, "No space left"), False),
        (RuntimeError("a bug"), False),
    ],
)
def test_what_this_machine_has_run_out_of_is_no_fault_of_a_run(error: BaseException, expected: bool) -> None:
    assert is_exhaustion(error) is expected
