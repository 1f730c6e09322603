"""Experiment with which Athanor tests itself. Hidden from lists: `./manage.py chaos` launches it."""

from __future__ import annotations

from typing import Any

from athanor.chaos.probe import ProbeConfig, Walk
from experiments import Experiment, RunContext
from experiments.limits import Limits
from experiments.retry import Retry


class ChaosProbe(Experiment):
    """Verify itself by a chain of digests over its steps, carried by checkpoints, and by a journal of its actions."""

    name = "chaos_probe"
    hidden = True
    limits = Limits(interrupt_after_s=0.3, cancel_grace_s=0.5, kill_grace_s=0.5)
    retries = {kind: Retry(times=1000) for kind in ("crashed", "lost", "start")}

    class Config(ProbeConfig):
        pass

    def run(self, ctx: RunContext[ProbeConfig]) -> dict[str, Any]:
        return Walk(ctx).go()
