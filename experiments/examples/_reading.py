"""Paths that examples may read. Users who launch an example must not read all files of the worker's user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments import RunContext
from experiments.conf import experiments_settings


def readable(ctx: RunContext[Any], path: Path) -> Path:
    """Resolve a configured path, relative to ATHANOR_EXPERIMENTS_EXAMPLES_FOLDER or else to the run's work folder.

    Fails the run if the path is outside of that folder.
    """
    folder = (experiments_settings().examples_folder or ctx.workdir).expanduser().resolve()
    target = (folder / path).resolve()
    if not target.is_relative_to(folder):
        ctx.fail(
            f"{path} is outside of {folder}, the folder that examples may read."
            " Set ATHANOR_EXPERIMENTS_EXAMPLES_FOLDER to read another one."
        )
    return target
