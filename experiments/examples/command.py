"""An existing program as an experiment, without a shell: see `experiments.command`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from experiments import RunContext
from experiments.command import CommandExperiment
from experiments.examples._reading import readable


class DiskUsage(CommandExperiment):
    """Measure the size of the folders below a folder, in KiB, with `du`."""

    argv = ("du", "-k", "-d", "{depth}", "--", "{path}")
    success_codes = frozenset({0, 1})  # 1: it could not look into some folder, and has said so

    class Config(BaseModel):
        path: Path = Field(Path(), description="A folder in the examples folder or the run's work folder")
        depth: int = Field(1, ge=0, le=20, description="Levels of folders shown")

    def run(self, ctx: RunContext[Config]) -> dict[str, Any]:
        self._folder = readable(ctx, ctx.config.path)
        if not self._folder.exists():
            ctx.fail(f"There is no {self._folder}.")
        return super().run(ctx)

    def command(self, config: Config) -> list[str]:
        return super().command(config.model_copy(update={"path": self._folder}))
