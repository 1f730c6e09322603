"""System worker that is up but takes no ticks, on a broker without another system worker that would take them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from runs.models import Pulse
from runs.recovery.reconcile import LAST_SWEEP
from runs.worker.watchdog import STALLED_STATUS
from tests.recovery import PATIENCE_S
from tests.stack import Stack
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


def test_a_system_worker_that_takes_no_work_ends_itself(own_stack: Stack, tmp_path: Path) -> None:
    environ = {
        "ATHANOR_APPS": "tests.meddling",
        "MEDDLING_STALL": str(tmp_path / "stall"),
        "ATHANOR_RUNS_CONSUMER_STALLED_AFTER_S": "3",
    }
    with own_stack.at_once():
        system = own_stack.system(**environ)
        own_stack.beat()
    _ticks_are_taken()
    (tmp_path / "stall").touch()
    wait_until((tmp_path / "stall.done").exists, timeout_s=PATIENCE_S, what="its stall")
    assert system.wait(PATIENCE_S) == STALLED_STATUS
    (tmp_path / "stall").unlink()
    system.start()
    _ticks_are_taken()


def _ticks_are_taken() -> None:
    """Wait for a sweep that is not the one that a worker does at its start."""
    later = timezone.now() + timedelta(seconds=4)
    wait_until(lambda: Pulse.objects.filter(name=LAST_SWEEP, at__gt=later).exists(), timeout_s=PATIENCE_S, what="ticks")
