"""Paths of a run's files: its work folder, artifacts and stacks. All workers that share runs share them."""

from __future__ import annotations

import os
from pathlib import Path

from runs.conf import runs_settings

STACKS_PREFIX = "stacks-"
DEPTH_MAX = 3
"""Depth of empty folders that are removed: `artifacts/<attempt>` below the run's."""


def run_folder(run_id: int) -> Path:
    """Return the folder of a run's files."""
    return runs_settings().var / "runs" / str(run_id)


def stacks_file(folder: Path, attempt: int) -> Path:
    """Return the file to which the child of an attempt writes the stacks of its threads."""
    return folder / f"{STACKS_PREFIX}{attempt}.txt"


def remove_if_empty(folder: Path, *, depth: int = 0) -> bool:
    """Remove the folder of a finished run if it has no files, except empty ones for stacks. False if it is kept.

    May be repeated.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if depth == DEPTH_MAX or not remove_if_empty(Path(entry.path), depth=depth + 1):
                        return False
                elif depth or not entry.name.startswith(STACKS_PREFIX) or entry.stat(follow_symlinks=False).st_size:
                    return False
                else:
                    Path(entry.path).unlink()
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
