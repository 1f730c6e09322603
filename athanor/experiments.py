"""What Athanor runs to test itself. It is offered nowhere: `python manage.py chaos` launches it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from experiments import Experiment, RunContext
from experiments.limits import Limits
from experiments.retry import Retry


class ChaosProbe(Experiment):
    """Checks itself: a chain of digests over its steps, carried by checkpoints, and a journal of all that it does."""

    name = "chaos_probe"
    hidden = True
    limits = Limits(interrupt_after_s=0.3, cancel_grace_s=0.5, kill_grace_s=0.5)
    retries = {kind: Retry(times=1000) for kind in ("crashed", "lost", "start")}

    class Config(BaseModel):
        steps: int = Field(20, ge=1, le=100_000)
        lines: int = Field(5, ge=0, le=1_000_000, description="Lines of each step")
        pause_s: float = Field(0.1, ge=0, le=60, description="After each step")
        sync_every: int = Field(3, ge=1, description="Every so many steps it waits for its checkpoint")
        family: int = Field(0, ge=0, le=20, description="Daemons and sub-processes that it leaves behind")
        stubborn: bool = Field(False, description="Swallows the interrupt of a cancel, and ignores SIGTERM")

    def run(self, ctx: RunContext[Config]) -> dict[str, Any]:
        from athanor.chaos.probe import Walk  # not needed where experiments are only listed

        return Walk(ctx).go()
