"""Files that a process has imported from outside Python and its installed packages, to notice when they change.

Compares state, reads nothing. Light to import: no Django.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import msgspec

Stamp = tuple[int, int, int, int] | None
"""Inode, size in bytes, and times of modification and change in ns; None if there is no such file."""

FILES_MAX = 5_000
"""Most files that are checked before each use."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Folder(msgspec.Struct):
    """List what can be imported from a folder. A new module may come before one that is installed."""

    changed_ns: int
    """Modification time of the folder. While it is the same, so are the names."""
    names: list[str]

    @classmethod
    def now(cls, path: str) -> Folder:
        return cls(_changed_ns(path), importable_names(path))

    def has_changed(self, path: str) -> bool:
        changed_ns = _changed_ns(path)
        if changed_ns == self.changed_ns:
            return False
        self.changed_ns = changed_ns
        return importable_names(path) != self.names


class Imported(msgspec.Struct, frozen=True):
    """Files and folders with their state at one moment."""

    files: dict[str, Stamp] = {}
    folders: dict[str, Folder] = {}

    @classmethod
    def now(cls, files: Iterable[str], folders: Iterable[str]) -> Imported:
        return cls({file: stamp(file) for file in files}, {folder: Folder.now(folder) for folder in folders})

    @property
    def is_too_large(self) -> bool:
        return len(self.files) > FILES_MAX

    def has_changed(self) -> bool:
        """Return whether a file or folder is in another state now."""
        return any(stamp(file) != before for file, before in self.files.items()) or any(
            folder.has_changed(path) for path, folder in self.folders.items()
        )


def stamp(path: str) -> Stamp:
    try:
        state = os.stat(path)  # noqa: PTH116  # read before each start of a run
    except (OSError, ValueError):
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def importable_names(folder: str) -> list[str]:
    """Return the sorted names of modules and folders in a folder. Empty if there is none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_importable(entry))
    except OSError:
        return []


def _is_importable(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    if name.endswith((".py", ".so", ".pyc")):
        return True
    return "." not in name and os.path.exists(f"{entry.path}/__init__.py")  # noqa: PTH110  # as above


def _changed_ns(path: str) -> int:
    state = stamp(path)
    return 0 if state is None else state[2]


def is_installed(path: str) -> bool:
    """Return whether a path belongs to Python or to an installed package."""
    return path.startswith(_LIBRARIES) or not _INSTALLED.isdisjoint(Path(path).parts)


def own_modules(names: Iterable[str]) -> list[ModuleType]:
    """Return the modules of these names in `sys.modules` that are not installed."""
    modules = [sys.modules.get(name) for name in names]
    return [module for module in modules if isinstance(module, ModuleType) and any(map(_is_own, _paths(module)))]


def imported(modules: Iterable[ModuleType], others: Iterable[str]) -> Imported:
    """Return the state of what these modules were imported from, and of `others`, files that may be imported next."""
    paths = {path for module in modules for path in _paths(module) if _is_own(path)} | set(others)
    files = {file for path in paths if (file := _existing(path)) and not Path(file).is_dir()}
    folders = {path for path in paths if Path(path).is_dir()} | {str(Path(file).parent) for file in files}
    return Imported.now(files, folders | {entry for entry in sys.path if entry and not is_installed(entry)})


def _paths(module: ModuleType) -> list[str]:
    """Return the file of a module, the folders of a package."""
    file = getattr(module, "__file__", None)
    try:
        folders = list(getattr(module, "__path__", None) or ())
    except Exception:  # the path of a namespace package is computed, from a parent that may be gone
        folders = []
    return [path for path in (file, *folders) if isinstance(path, str) and path]


def _is_own(path: str) -> bool:
    return not is_installed(path)


def _existing(path: str) -> str:
    """Return the path, or the archive that contains it."""
    place = Path(path)
    return next((str(each) for each in (place, *place.parents) if each.exists()), path)
