"""An experiment that is a plain script: the same file can be run by Python itself."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from pydantic import BaseModel

from experiments import Experiment, RunContext

MODULE = "user_script"
"""`__name__` of the script in a run."""


class Script(Experiment):
    """Executes a file as a module."""

    class Config(BaseModel):
        path: str

    def run(self, ctx: RunContext[Any]) -> None:
        spec = importlib.util.spec_from_file_location(MODULE, ctx.config.path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
