"""An experiment whose interpreter hangs at its end, inside C code that holds the interpreter's lock."""

from __future__ import annotations

import atexit
import ctypes
from typing import Any

from pydantic import BaseModel

from experiments import Experiment, RunContext
from runs.child import shutdown


class Hanging(Experiment):
    """Return from `run`, then block every thread of the interpreter in an exit function."""

    class Config(BaseModel):
        hard_limit_extra_s: float

    def run(self, ctx: RunContext[Config]) -> Any:
        shutdown.HARD_LIMIT_EXTRA_S = ctx.config.hard_limit_extra_s
        atexit.register(hang_in_c)
        ctx.log.info("returning")


def hang_in_c() -> None:
    ctypes.PyDLL(None).sleep(1000)  # unlike CDLL, PyDLL keeps the interpreter's lock
