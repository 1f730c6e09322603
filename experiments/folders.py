"""Folders of experiments. Each is a separate package, and `import helpers` finds the module beside the experiment.

A folder's modules are imported as `athanor_folder_<digest of its path>.<name>`: unique, and the same in every process.
A module can also import a neighbour by its plain name (`import helpers`). Two folders may each have a `helpers`, so
such modules belong to their folder: they are in `sys.modules` only while code of that folder runs (`inside`), or
permanently in a process that runs one experiment (`enter`).
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGE = "athanor_folder_"

_lock = threading.RLock()
_folders: dict[Path, str] = {}
"""Folder → its package."""
_neighbours: dict[Path, dict[str, ModuleType]] = {}
"""Folder → the modules that its experiments imported by their plain names."""


def package_of(folder: Path) -> str:
    """Return the name of the package of a folder. Creates the package and puts the folder at the end of sys.path."""
    name = PACKAGE + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    if name not in sys.modules:
        package = ModuleType(name, f"Experiments of {folder}")
        package.__path__ = [str(folder)]
        package.__spec__ = ModuleSpec(name, None, is_package=True)
        package.__spec__.submodule_search_locations = [str(folder)]
        sys.modules[name] = package
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    _folders[folder] = name
    return name


def folder_of(module: str) -> Path | None:
    """Return the folder that contains the module; None for a module of an app or of an installed package."""
    package = module.partition(".")[0]
    return next((folder for folder, name in _folders.items() if name == package), None)


@contextmanager
def inside(folder: Path | None) -> Iterator[None]:
    """Run the block with the modules of `folder` importable by their plain names, before those of other folders.

    Holds a lock, so that no two threads are inside different folders. Does nothing for None.
    """
    if folder is None:
        yield
        return
    with _lock:
        path, last = list(sys.path), next(reversed(sys.modules))
        replaced = {name: sys.modules[name] for name in _neighbours.get(folder, ()) if name in sys.modules}
        enter(folder)
        try:
            yield
        finally:
            _set_aside(folder, replaced, imported_since(last))
            sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]


def enter(folder: Path | None) -> None:
    """Stay inside `folder` for the rest of the process, as the process of a run does."""
    if folder is None:
        return
    sys.modules.update(_neighbours.get(folder, {}))
    others = {str(other) for other in _folders}
    first = next((index for index, entry in enumerate(sys.path) if entry in others), len(sys.path))
    rest = [entry for entry in sys.path if entry != str(folder)]
    sys.path[:] = [*rest[:first], str(folder), *rest[first:]]


def neighbours() -> list[ModuleType]:
    """Return all modules that were imported by their plain names."""
    return [module for modules in _neighbours.values() for module in modules.values()]


def forget_neighbours() -> None:
    """Drop the imported neighbours, so that their next use imports them again after files have changed."""
    with _lock:
        _neighbours.clear()


def _set_aside(folder: Path, replaced: dict[str, ModuleType], new: list[str]) -> None:
    """Remove the neighbours imported inside `folder` from sys.modules, and restore the modules that they replaced."""
    neighbours_of_folder = _neighbours.setdefault(folder, {})
    tops = {name for name in new if "." not in name and _is_of_a_folder(name)} | {
        name for name in neighbours_of_folder if "." not in name
    }
    for name in dict.fromkeys((*new, *neighbours_of_folder)):
        if name.partition(".")[0] not in tops:
            continue
        if (module := sys.modules.pop(name, None)) is not None:
            neighbours_of_folder[name] = module
        if name in replaced:
            sys.modules[name] = replaced[name]


def imported_since(last: str) -> list[str]:
    """Return the modules that were imported after the module `last`, the newest first.

    Cheaper than a comparison with all before: in a process that shares memory with its parent, each module that is
    looked at costs a copy of its page. Calls no Python code, so that no other thread can import a module meanwhile.
    """
    return list(itertools.takewhile(last.__ne__, reversed(sys.modules)))


def _is_of_a_folder(name: str) -> bool:
    """Return whether a top-level module is directly in one of the folders."""
    spec = getattr(sys.modules[name], "__spec__", None)
    if spec is None or name.startswith(PACKAGE):
        return False
    paths = list(spec.submodule_search_locations or ()) or ([spec.origin] if spec.has_location else [])
    return any(path and Path(path).parent in _folders for path in paths)
