"""An existing program as an experiment, without a shell: see `experiments.command`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from experiments import RunContext
from experiments.command import CommandExperiment


class DiskUsage(CommandExperiment):
    """Measure the size of the folders below a folder, in KiB, with `du`."""

    argv = ("du", "-k", "-d", "{depth}", "--", "{path}")
    success_codes = frozenset({0, 1})  # 1: it could not look into some folder, and has said so

    class Config(BaseModel):
        path: Path = Field(Path(), description="The folder; a relative one is taken from the run's own work folder")
        depth: int = Field(1, ge=0, le=20, description="Levels of folders shown")

    def run(self, ctx: RunContext[Config]) -> dict[str, Any]:
        if not (folder := ctx.workdir / ctx.config.path).exists():
            ctx.fail(f"There is no {folder}.")
        return super().run(ctx)
