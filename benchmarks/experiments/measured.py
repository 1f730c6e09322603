"""Experiments of the benchmarks. They import as little as possible: an import is part of the time to the first line."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel

from experiments import Experiment, RunContext


class Measured(Experiment):
    """Execute one job of `benchmarks.work`."""

    class Config(BaseModel):
        job: str = "noop"
        values: list[Any] = []

    def run(self, ctx: RunContext[Config]) -> dict[str, int]:
        began = time.monotonic_ns()
        from benchmarks import work

        timed = {"began": began} if ctx.config.job in work.TIMED else {}
        return {"value": work.JOBS[ctx.config.job](*ctx.config.values, **timed), "began": began}
