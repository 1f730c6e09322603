"""Files of an experiment and their digest: two runs with the same digest ran the same code of the author.

The code is the module that defines the experiment and, recursively, every module of the same package or folder that it
has imported. Installed packages are not part of it; their versions are recorded separately. A module that is imported
later, during the run, is not included.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.base import Experiment
from experiments.discovery import EXAMPLES


def source_file(experiment: type[Experiment]) -> Path | None:
    """Return the file that defines the experiment; None if it was typed into an interpreter."""
    return _file(sys.modules.get(experiment.__module__))


def source_files(experiment: type[Experiment]) -> list[Path]:
    """Return the sorted files of the author's code."""
    module = sys.modules.get(experiment.__module__)
    if module is None:
        return []
    roots = _roots(module)
    visited: dict[str, ModuleType] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current.__name__ not in visited:
            visited[current.__name__] = current
            waiting.extend(each for each in _imported(current) if _is_below(_file(each), roots))
    return sorted({file for each in visited.values() if (file := _file(each)) is not None})


def source_digest(experiment: type[Experiment]) -> str:
    """Return the hexadecimal SHA-256 of the author's code; for one file that of the file. Empty if there is no file."""
    files = source_files(experiment)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _roots(module: ModuleType) -> list[Path]:
    """Return the folders of the module's top-level package; none for a module outside of packages."""
    name = EXAMPLES if module.__name__.startswith(f"{EXAMPLES}.") else module.__name__.partition(".")[0]
    return [Path(path) for path in getattr(sys.modules.get(name), "__path__", ())]


def _imported(module: ModuleType) -> list[ModuleType]:
    """Return the modules that a module's names come from."""
    names = {_origin(value) for value in vars(module).values()}
    return [sys.modules[name] for name in names if name in sys.modules]


def _origin(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    origin = getattr(value, "__module__", "")
    return origin if isinstance(origin, str) else ""


def _is_below(file: Path | None, roots: list[Path]) -> bool:
    return file is not None and any(file.is_relative_to(root) for root in roots)


def _file(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if file else None
