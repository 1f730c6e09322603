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


class Lines(Experiment):
    """Log `count` records as fast as the loop goes, by one of the ways to log; tell the times of the loop."""

    class Config(BaseModel):
        way: str = "log"
        count: int = 1000
        box: str = ""

    def run(self, ctx: RunContext[Config]) -> dict[str, int]:
        from benchmarks import work

        count, began, ended = ctx.config.count, 0, 0
        if ctx.config.way in work.WAYS:
            began, ended = work.WAYS[ctx.config.way](count)
        elif ctx.config.way == "metric":
            began = time.monotonic_ns()
            for number in range(count):
                ctx.metric("loss", 1 / (number + 1), step=number)
            ended = time.monotonic_ns()
        elif ctx.config.way == "log with metadata":
            began = time.monotonic_ns()
            for number in range(count):
                ctx.log.info("epoch done", loss=1 / (number + 1), step=number)
            ended = time.monotonic_ns()
        else:
            began = time.monotonic_ns()
            for number in range(count):
                ctx.log.info(work.line(number))
            ended = time.monotonic_ns()
        work.tell(ctx.config.box, began=began, ended=ended)
        return {"count": count}


class Paced(Experiment):
    """Log `rate` lines a second for `seconds`, each with the time at which it was logged."""

    class Config(BaseModel):
        rate: int = 100
        seconds: float = 10.0

    def run(self, ctx: RunContext[Config]) -> dict[str, int]:
        count = int(ctx.config.rate * ctx.config.seconds)
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number / ctx.config.rate - time.monotonic()))
            ctx.log.info(f"logged at {time.time():.6f}")
        return {"count": count}
