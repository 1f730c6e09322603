"""State of files, to learn that one has changed. Looks at names, sizes and times only; imports and reads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Stamp = tuple[int, int] | None
"""Modification time in ns and size in bytes; None: there is no such file."""

FILES_MAX = 5_000
"""Most files of one folder that are looked at."""
DEPTH_MAX = 8


@dataclass(frozen=True, slots=True)
class Watched:
    """Files and folders with their state at one moment."""

    files: dict[str, Stamp] = field(default_factory=dict)
    folders: dict[str, dict[str, Stamp]] = field(default_factory=dict)
    """Folder → its Python files at any depth."""

    def is_stale(self) -> bool:
        """Whether a file has changed, appeared or vanished since."""
        return stamps(self.files) != self.files or any(
            stamps_below(Path(folder)) != known for folder, known in self.folders.items()
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
    """The Python files below a folder, FILES_MAX at most; hidden folders and environments are left out."""
    found: dict[str, Stamp] = {}
    for path in _python_files(folder, DEPTH_MAX):
        if len(found) >= FILES_MAX:
            break
        found[path] = stamp(path)
    return found


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
