"""State of files, to detect changes. Compares names, sizes and times only; imports and reads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Stamp = tuple[int, int] | None
"""Modification time in ns and size in bytes; None if there is no such file."""

FILES_MAX = 5_000
"""Maximum number of files checked below one folder."""
DEPTH_MAX = 8


@dataclass(frozen=True, slots=True)
class Watched:
    """Files and folders with their state at one moment."""

    files: dict[str, Stamp] = field(default_factory=dict)
    folders: dict[str, dict[str, Stamp]] = field(default_factory=dict)
    """Folder → its Python files at any depth."""

    def is_stale(self) -> bool:
        """Return whether a file has changed, appeared or vanished since."""
        return stamps(self.files) != self.files or any(
            stamps_below(Path(folder)) != files for folder, files in self.folders.items()
        )


def stamp(path: str | Path) -> Stamp:
    try:
        stat = os.stat(path)  # noqa: PTH116  # a few thousand of them: a Path each would take longer
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_size


def stamps(files: Iterable[str]) -> dict[str, Stamp]:
    return {file: stamp(file) for file in files}


def stamps_below(folder: Path) -> dict[str, Stamp]:
    """Return the state of up to FILES_MAX Python files below a folder, without hidden folders and environments."""
    files: dict[str, Stamp] = {}
    for path in _python_files(folder, DEPTH_MAX):
        if len(files) >= FILES_MAX:
            break
        files[path] = stamp(path)
    return files


def _python_files(folder: Path, depth: int) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith((".", "__pycache__")):
            continue
        if entry.name.endswith(".py"):
            yield entry.path
        elif depth and entry.is_dir(follow_symlinks=False):
            yield from _python_files(Path(entry.path), depth - 1)
