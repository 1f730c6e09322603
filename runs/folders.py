"""Paths of a run's files: its work folder, artifacts and stacks. All workers that share runs share them."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath
from typing import BinaryIO

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


def open_inside(folder: Path, relative: str | PurePath) -> BinaryIO:
    """Open a regular file below a run's folder for reading, without following a link.

    The run may change its folder at any moment, and may have another user. A link, or a file with another owner than
    the folder, could expose files that this process can read but the run cannot. Raises OSError, ValueError.
    """
    path = PurePath(relative)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"{relative} is not a path below a folder")
    opened = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)]
    try:
        owner = os.fstat(opened[0]).st_uid
        for number, part in enumerate(path.parts, 1):
            kind = os.O_NONBLOCK if number == len(path.parts) else os.O_DIRECTORY
            opened.append(os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=opened[-1]))
        status = os.fstat(opened[-1])
        if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
            raise OSError(f"{folder / path} is not a regular file of the run")
        return os.fdopen(opened.pop(), "rb")
    finally:
        for fd in opened:
            os.close(fd)


def remove_if_empty(folder: Path) -> bool:
    """Remove the folder of a finished run if it has no files, except empty ones for stacks. False if it is kept.

    May be repeated. Follows no links, not even those that another process creates meanwhile.
    """
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _remove_if_empty(folder.name, parent, depth=0)
        finally:
            os.close(parent)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _remove_if_empty(name: str, parent: int, *, depth: int) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if depth == DEPTH_MAX or not _remove_if_empty(entry.name, fd, depth=depth + 1):
                        return False
                elif depth or not entry.name.startswith(STACKS_PREFIX) or entry.stat(follow_symlinks=False).st_size:
                    return False
                else:
                    os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
    return True
