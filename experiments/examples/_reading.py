"""Paths that examples may read: whoever may launch an example must not read all files of the worker's user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments import RunContext
from experiments.conf import experiments_settings


def readable(ctx: RunContext[Any], path: Path) -> Path:
    """Return the real path of a configured one, which is relative to the folder of ATHANOR_EXPERIMENTS_EXAMPLES_FOLDER,
    or to the run's work folder. Fails the run if it is outside of that folder.
    """
    folder = (experiments_settings().examples_folder or ctx.workdir).expanduser().resolve()
    found = (folder / path).resolve()
    if not found.is_relative_to(folder):
        ctx.fail(
            f"{path} is outside of {folder}, below which the examples may read."
            " ATHANOR_EXPERIMENTS_EXAMPLES_FOLDER names another folder."
        )
    return found
