"""Find modules of experiments, and import them. Finding imports no code of authors except packages of entry points.

Three sources: the `experiments` module or package of each installed app, the folders of ATHANOR_EXPERIMENT_PATHS (every
*.py and package in them), and the entry points of the group `athanor.experiments`. In packages every module counts, at
any depth, except `conftest` and names that begin with `_` or `test`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from django.apps import apps

from experiments import folders
from experiments.base import Experiment, default_name
from experiments.conf import experiment_paths, offers_examples

ENTRY_POINT_GROUP = "athanor.experiments"
EXAMPLES = "experiments.examples"
"""Package of the shipped examples."""

_IGNORED = re.compile(r"_|tests?(_|$)|conftest$")
_FURTHER = "For further information visit "
"""Start of pydantic's last line, which is a link only."""
_CLASS = re.compile(r"^\s*class\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module that may hold experiments, not imported yet."""

    module: str
    where: str
    """Display name of the source: file, app or entry point."""
    file: Path | None = None
    attribute: str = ""
    """Name of the class in an entry point; empty for every experiment that the module defines."""
    folder: Path | None = None
    """Folder of ATHANOR_EXPERIMENT_PATHS that contains it."""

    @property
    def is_example(self) -> bool:
        return self.module == EXAMPLES or self.module.startswith(f"{EXAMPLES}.")

    def hinted_names(self) -> frozenset[str]:
        """Return names of experiments that the module may define, by its class names; it need not compile."""
        return self._source().names

    def mentions(self, name: str) -> bool:
        """Return whether the text seems to define the experiment `name`; True if there is no text."""
        source = self._source()
        return not source.text or name in source.names or f'"{name}"' in source.text or f"'{name}'" in source.text

    def _source(self) -> _Source:
        try:
            if self.file is None:
                return _NO_SOURCE
            stat = self.file.stat()
            return _read(self.file, stat.st_mtime_ns, stat.st_size)
        except OSError:
            return _NO_SOURCE


@dataclass(frozen=True, slots=True)
class _Source:
    """Text of a module, and the names of experiments that its classes have by default."""

    text: str
    names: frozenset[str]


_NO_SOURCE = _Source("", frozenset())


@lru_cache(maxsize=512)
def _read(file: Path, _mtime_ns: int, _size: int) -> _Source:
    """Read a module's text, once for each state of the file. Raises OSError."""
    text = file.read_text(errors="replace")
    return _Source(text, frozenset(default_name(name) for name in _CLASS.findall(text)))


@dataclass(frozen=True, slots=True)
class Problem:
    """Reason why experiments are excluded. Shown by a system check and on the pages; never raised during discovery."""

    where: str
    traceback: str
    """Traceback, or a sentence if the cause is not an exception."""
    names: frozenset[str] = field(default_factory=frozenset)
    """Names of experiments that are probably excluded."""
    is_notice: bool = False
    """True for information only: nothing is broken."""

    error: str = ""
    """Error in one line, for an exception."""

    @property
    def reason(self) -> str:
        """Error in one line."""
        return self.error or self.traceback.strip().rsplit("\n", 1)[-1]


def candidates(*, with_entry_points: bool = True) -> tuple[list[Candidate], list[Problem]]:
    """Return all modules to import, each once, in a stable order, and problems with the sources themselves.

    Finding entry points reads the metadata of every installed package, which takes most of the time.
    """
    modules_found, problems = list(_of_apps()), []
    for folder in experiment_paths():
        try:
            modules = list(_modules_in(folder, folders.package_of(folder)))
        except OSError as error:
            problems.append(Problem(str(folder), f"ATHANOR_EXPERIMENT_PATHS names {folder}: {error.strerror}."))
            continue
        modules_found.extend(
            Candidate(module, str(file), file, folder=folder) for file, module in modules if "." not in file.stem
        )
        dotted = [file for file, _ in modules if "." in file.stem]
        problems.extend(
            Problem(str(file), f"{file.name} cannot be imported: its name has an inner dot.") for file in dotted
        )
    modules_found.extend(_of_entry_points() if with_entry_points else ())
    unique: dict[tuple[str, str], Candidate] = {}
    for candidate in modules_found:
        unique.setdefault((candidate.module, candidate.attribute), candidate)
    return list(unique.values()), problems


def experiments_in(candidate: Candidate) -> list[type[Experiment]]:
    """Import the module and return the concrete experiments that it defines. Raises any exception of the import."""
    with folders.inside(candidate.folder):
        module = importlib.import_module(candidate.module)
    if candidate.attribute:
        named = getattr(module, candidate.attribute)
        if not _is_concrete(named):
            raise TypeError(f"{candidate.where} names {named!r}, which is not a concrete subclass of Experiment")
        return [named]
    return [value for value in vars(module).values() if _is_concrete(value) and value.__module__ == module.__name__]


def import_problem(candidate: Candidate, error: BaseException) -> Problem:
    """Describe a failed import, with a traceback that begins in the author's code."""
    report = traceback.TracebackException.from_exception(error)
    inner = [frame for frame in report.stack if not _is_machinery(frame.filename)]
    report.stack = traceback.StackSummary.from_list(inner)
    return Problem(candidate.where, "".join(report.format()), candidate.hinted_names(), error=one_line(report))


def one_line(report: traceback.TracebackException) -> str:
    """Return the error's type and the first line of its message, and the last line if there are several."""
    text = "".join(report.format_exception_only())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_FURTHER)] or [""]
    if hasattr(report, "msg"):  # a syntax error
        return lines[-1]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"


def _is_machinery(filename: str) -> bool:
    return (
        filename.startswith("<frozen importlib")
        or filename in (importlib.__file__, __file__)
        or filename.endswith(("experiments/registry.py", "experiments/folders.py"))
    )


def _is_concrete(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Experiment) and not inspect.isabstract(value)


def _of_apps() -> Iterator[Candidate]:
    for app in apps.get_app_configs():
        if app.name == "experiments" and not offers_examples():
            continue
        yield from _of_module(module_of(app.name), f"app {app.label}")


def module_of(app: str) -> str:
    """Return the name of the module, or package, of an app's experiments."""
    return EXAMPLES if app == "experiments" else f"{app}.experiments"


def _of_entry_points() -> Iterator[Candidate]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        where = f"entry point {point.name} = {point.value}"
        if point.attr:
            yield Candidate(point.module, where, _file(_spec(point.module)), point.attr)
        elif _spec(point.module) is None:
            yield Candidate(point.module, where)  # its import reports what is missing
        else:
            yield from _of_module(point.module, where)


def _of_module(name: str, where: str) -> Iterator[Candidate]:
    """Yield a module, or a package with all its modules; nothing if it does not exist."""
    spec = _spec(name)
    if spec is None:
        return
    if spec.origin is not None:
        yield Candidate(name, f"{where}: {name}", _file(spec))
    for location in spec.submodule_search_locations or ():
        for file, module in _modules_in(Path(location), name):
            yield Candidate(module, f"{where}: {module}", file)


def _modules_in(folder: Path, package: str) -> Iterator[tuple[Path, str]]:
    """Yield (file, dotted name) of each module below the folder of `package`, without the package's own file."""
    for path in sorted(folder.iterdir()):
        if is_ignored(path):
            continue
        if path.suffix == ".py" and path.is_file():
            yield path, f"{package}.{path.stem}"
        elif (path / "__init__.py").is_file():
            yield path / "__init__.py", f"{package}.{path.name}"
            yield from _modules_in(path, f"{package}.{path.name}")


def is_ignored(path: Path) -> bool:
    """Return whether a file or folder counts for no module of experiments, by its name."""
    return bool(_IGNORED.match(path.name.removesuffix(".py")))


def _spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module; None without one, or if its parent package, which this imports, is broken."""
    try:
        return importlib.util.find_spec(name)
    except KeyboardInterrupt:
        raise
    except BaseException:  # an author's package may raise anything
        return None


def _file(spec: ModuleSpec | None) -> Path | None:
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
