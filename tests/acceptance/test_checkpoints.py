"""A checkpoint is kept together with all that was said before it: the next attempt does not say it again."""

from __future__ import annotations

import pytest

from runs import services
from runs.models import Checkpoint
from tests.stack import Stack, messages
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


def test_what_was_said_before_a_checkpoint_survives_the_worker_although_nobody_flushes(own_stack: Stack) -> None:
    worker = own_stack.worker()  # alone: no beat and no system worker carries lines to the database
    run = services.launch("scripted", configuration={"behaviour": "checkpoint", "count": 500, "pause_s": 0.05})

    def kept() -> int:
        found = Checkpoint.objects.filter(run=run).first()
        return int(found.state["step"]) if found else 0

    wait_until(lambda: kept() >= 20, timeout_s=30, what="a checkpoint")
    worker.kill()

    reached = kept()
    said = [f"step {step}" for step in range(reached - 1)]  # it says "step n" after the checkpoint n + 1
    assert messages(run)[: len(said)] == said
