"""Smallest experiment with progress, a metric, lines and a result: the example of the README."""

from __future__ import annotations

import random

from pydantic import BaseModel, Field

from experiments import Experiment, RunContext


class MonteCarloPi(Experiment):
    """Estimate pi by throwing darts."""

    class Config(BaseModel):
        batches: int = Field(20, ge=1, le=10_000, title="Batches", description="Results recorded")
        darts: int = Field(100_000, ge=1, description="Darts per batch")
        seed: int = 0

    def run(self, ctx: RunContext[Config]) -> dict[str, float]:
        rng, hits, thrown = random.Random(ctx.config.seed), 0, 0
        for batch in ctx.track(range(ctx.config.batches), "Throwing"):  # progress, and the place where a cancel is seen
            hits += sum(rng.random() ** 2 + rng.random() ** 2 <= 1 for _ in range(ctx.config.darts))
            thrown += ctx.config.darts
            ctx.metric("pi", 4 * hits / thrown, step=batch)
            ctx.log.info("batch done", batch=batch)
        return {"pi": 4 * hits / thrown}
