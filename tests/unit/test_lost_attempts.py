"""Detection of lost attempts, from the attempt and its worker's process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from typing import Any

import pytest

from runs.forkserver import machine
from runs.recovery.reconcile import OpenAttempt, is_lost
from runs.states import AttemptKey
from tests.waiting import wait_until

NO_PID = 2**22 + 1
"""Above the highest pid of Linux."""
EXPIRED = OpenAttempt(key=AttemptKey(1, 1), worker="runs@here (pid 1)", process_ended=False, lease_expired=True)


@pytest.mark.parametrize(
    ("known", "by_lease", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"lease_expired": False}, True, False),
        ({"lease_expired": False, "process_ended": True}, True, True),
        ({"lease_expired": False, "process_ended": True}, False, True),
    ],
)
def test_an_attempt_is_lost_by_its_worker_or_its_lease(known: dict[str, Any], by_lease: bool, expected: bool) -> None:
    assert is_lost(dataclasses.replace(EXPIRED, **known), by_lease=by_lease) is expected


def test_this_process_is_not_gone() -> None:
    began = machine.started(os.getpid())
    assert began is not None
    assert not machine.is_gone(machine.host(), machine.boot_id(), os.getpid(), began)
    assert machine.is_gone(machine.host(), machine.boot_id(), os.getpid(), began - 60), "another one had its pid"


@pytest.mark.parametrize(
    ("host", "boot", "space"),
    [
        ("elsewhere", None, None),
        (None, "another", None),
        (None, None, "1"),
        (None, "another", "1"),
        ("elsewhere", "another", "1"),
    ],
    ids=["other host", "same name, other kernel", "other container", "other kernel and container", "all differ"],
)
def test_only_the_kernel_that_ran_a_process_knows_that_it_is_gone(
    host: str | None, boot: str | None, space: str | None
) -> None:
    own_boot, _, own_space = machine.boot_id().partition("/")
    boot_id = f"{boot or own_boot}/{space or own_space}"
    assert not machine.is_gone(host or machine.host(), boot_id, NO_PID, 1.0)
    assert machine.is_gone(machine.host(), machine.boot_id(), NO_PID, 1.0)


def test_where_boots_have_no_id_nothing_is_known_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "boot_id", lambda: machine.UNKNOWN)
    assert not machine.is_gone(machine.host(), machine.UNKNOWN, NO_PID, 1.0)


def test_a_killed_process_is_gone_even_before_its_parent_looks() -> None:
    process = subprocess.Popen(["sleep", "60"])
    began = machine.started(process.pid)
    assert began is not None
    process.kill()
    wait_until(lambda: machine.is_gone(machine.host(), machine.boot_id(), process.pid, began), what="its end")
    process.wait()
    assert machine.started(process.pid) is None
