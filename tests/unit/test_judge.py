"""What becomes of an attempt, by what is known of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from typing import Any

import pytest

from runs import machine
from runs.reconcile import Facts, Verdict, judge
from runs.states import AttemptKey
from tests.waiting import wait_until

LOST = Facts(
    key=AttemptKey(1, 1),
    worker="runs@here (pid 1)",
    process_gone=False,
    lease_expired=True,
    on_lost="retry",
    max_attempts=3,
    cancel_by=None,
)


@pytest.mark.parametrize(
    ("known", "by_lease", "verdict"),
    [
        ({}, True, Verdict.RETRY),
        ({}, False, Verdict.KEEP),
        ({"lease_expired": False}, True, Verdict.KEEP),
        ({"lease_expired": False, "process_gone": True}, True, Verdict.RETRY),
        ({"lease_expired": False, "process_gone": True}, False, Verdict.RETRY),
        ({"key": AttemptKey(1, 2)}, True, Verdict.RETRY),
        ({"key": AttemptKey(1, 3)}, True, Verdict.FAIL),
        ({"on_lost": "fail"}, True, Verdict.FAIL),
        ({"cancel_by": "ann"}, True, Verdict.CANCEL),
        ({"cancel_by": ""}, True, Verdict.CANCEL),
        ({"cancel_by": "ann", "on_lost": "fail"}, True, Verdict.CANCEL),
        ({"cancel_by": "ann", "lease_expired": False}, True, Verdict.KEEP),
    ],
)
def test_an_attempt_is_judged_by_its_worker_its_lease_and_what_was_asked(
    known: dict[str, Any], by_lease: bool, verdict: Verdict
) -> None:
    assert judge(dataclasses.replace(LOST, **known), by_lease=by_lease) is verdict


def test_this_process_is_not_gone() -> None:
    began = machine.started(os.getpid())
    assert began is not None
    assert not machine.is_gone(machine.host(), machine.boot_id(), os.getpid(), began)
    assert machine.is_gone(machine.host(), machine.boot_id(), os.getpid(), began - 60), "another one had its pid"


def test_a_process_of_an_earlier_boot_is_gone_and_of_another_host_unknown() -> None:
    began = machine.started(os.getpid()) or 0.0
    space = machine.boot_id().partition("/")[2]
    assert machine.is_gone(machine.host(), f"earlier/{space}", os.getpid(), began)
    assert not machine.is_gone("elsewhere", "earlier", 1, 1.0)


def test_a_process_of_another_container_is_unknown() -> None:
    boot = machine.boot_id().partition("/")[0]
    assert not machine.is_gone(machine.host(), f"{boot}/1", 2**22 + 1, 1.0)


def test_a_killed_process_is_gone_even_before_its_parent_looks() -> None:
    process = subprocess.Popen(["sleep", "60"])
    began = machine.started(process.pid)
    assert began is not None
    process.kill()
    wait_until(lambda: machine.is_gone(machine.host(), machine.boot_id(), process.pid, began), what="its end")
    process.wait()
    assert machine.started(process.pid) is None
