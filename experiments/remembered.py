"""Candidates that a process has found, remembered for processes that are forked from it.

To find the modules of experiments takes a run as long as some of its other steps together. A fork server finds them
once, and its children check with a `stat` of each folder that nothing was added or removed. Where that is not certain,
they search.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps

from experiments.conf import experiment_paths
from experiments.discovery import Candidate, candidates, is_ignored, module_of

SETTLED_S = 2.0
"""Age of the newest change of a folder from which its time distinguishes a later one. Clocks of files are coarse."""


@dataclass(frozen=True, slots=True)
class _Found:
    candidates: list[Candidate]
    times: tuple[tuple[str, int], ...]
    """Folders on which the candidates depend, with the times of their last changes."""
    is_certain: bool


_found: _Found | None = None


def refresh() -> None:
    """Search again if a folder has changed since the last search. Raises nothing that `candidates` does not."""
    global _found  # noqa: PLW0603  # of this process
    if _found is None or not _is_current(_found):
        times = tuple(_times(_folders()))
        newest = max((changed for _, changed in times), default=0) / 1e9
        _found = _Found(candidates(with_entry_points=False)[0], times, time.time() - newest > SETTLED_S)


def known_candidates() -> list[Candidate]:
    """Return the modules of experiments except those of entry points, remembered or found now."""
    if _found is not None and _is_current(_found):
        return _found.candidates
    return candidates(with_entry_points=False)[0]


def _is_current(found: _Found) -> bool:
    try:
        return found.is_certain and all(os.stat(path).st_mtime_ns == changed for path, changed in found.times)  # noqa: PTH116  # a Path costs as much as the call
    except OSError:
        return False


def _times(folders: Iterable[Path]) -> Iterator[tuple[str, int]]:
    for folder in folders:
        try:
            yield str(folder), folder.stat().st_mtime_ns
        except OSError:
            yield str(folder), -1  # never equal


def _folders() -> Iterator[Path]:
    """Yield every folder in which a new module or package may appear."""
    for app in apps.get_app_configs():
        parent, _, name = module_of(app.name).rpartition(".")
        for location in getattr(sys.modules.get(parent), "__path__", ()):
            yield Path(location)
            if (Path(location) / name).is_dir():
                yield from _below(Path(location) / name)
    for folder in experiment_paths():
        yield from _below(folder)


def _below(folder: Path) -> Iterator[Path]:
    """Yield a folder, and all in it that are packages or may become one."""
    yield folder
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not is_ignored(path):
            yield from _below(path) if (path / "__init__.py").is_file() else [path]
