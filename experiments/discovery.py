"""Find modules of experiments, and import them. Finding imports nothing of an author's but packages of entry points.

Three places: the `experiments` module or package of each installed app, the folders of ATHANOR_EXPERIMENT_PATHS (every
*.py and package in them), and the entry points of the group `athanor.experiments`. In packages every module counts, at
any depth, but for names that begin with `_` or `test` and for `conftest`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from django.apps import apps

from experiments import folders
from experiments.base import Experiment, default_name
from experiments.conf import experiment_paths

ENTRY_POINT_GROUP = "athanor.experiments"
EXAMPLES = "experiments.examples"
"""The package of the shipped examples."""

_IGNORED = re.compile(r"_|tests?(_|$)|conftest$")
_FURTHER = "For further information visit "
"""Pydantic's last line, which says nothing about the error."""
_CLASS = re.compile(r"^\s*class\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module that may hold experiments, not imported yet."""

    module: str
    where: str
    """For people: the file, app or entry point."""
    file: Path | None = None
    attribute: str = ""
    """The one class that an entry point names; empty: every experiment that the module defines."""
    folder: Path | None = None
    """The folder of ATHANOR_EXPERIMENT_PATHS that it is in."""

    @property
    def is_example(self) -> bool:
        return self.module == EXAMPLES or self.module.startswith(f"{EXAMPLES}.")

    def hinted_names(self) -> frozenset[str]:
        """Names of experiments that the module's text may define, by its classes; it need not compile."""
        return frozenset(default_name(name) for name in _CLASS.findall(self.text()))

    def mentions(self, name: str) -> bool:
        """True if the text looks as if it defined the experiment `name`, or if there is no text."""
        text = self.text()
        return not text or bool(re.search(rf"[\"']{re.escape(name)}[\"']", text)) or name in self.hinted_names()

    def text(self) -> str:
        if self.file is None:
            return ""
        try:
            return self.file.read_text(errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps experiments out. Reported by a system check and on the pages; never raised at discovery."""

    where: str
    traceback: str
    """A traceback, or a sentence where the cause is no exception."""
    names: frozenset[str] = field(default_factory=frozenset)
    """Names of experiments that are probably kept out."""
    is_notice: bool = False
    """Nothing is broken: it says what was decided."""

    error: str = ""
    """The error in one line, for an exception."""

    @property
    def reason(self) -> str:
        """The error in one line."""
        return self.error or self.traceback.strip().rsplit("\n", 1)[-1]


def candidates(*, with_entry_points: bool = True) -> tuple[list[Candidate], list[Problem]]:
    """All modules to look into, each once, in a stable order, and what is wrong with the places themselves.

    Looking for entry points reads the metadata of every installed package: most of the time that this takes.
    """
    found, problems = list(_of_apps()), []
    for folder in experiment_paths():
        try:
            modules = list(_modules_in(folder, folders.package_of(folder)))
        except OSError as error:
            problems.append(Problem(str(folder), f"ATHANOR_EXPERIMENT_PATHS names {folder}: {error.strerror}."))
            continue
        found.extend(
            Candidate(module, str(file), file, folder=folder) for file, module in modules if "." not in file.stem
        )
        dotted = [file for file, _ in modules if "." in file.stem]
        problems.extend(
            Problem(str(file), f"{file.name} cannot be imported: its name has an inner dot.") for file in dotted
        )
    found.extend(_of_entry_points() if with_entry_points else ())
    unique: dict[tuple[str, str], Candidate] = {}
    for candidate in found:
        unique.setdefault((candidate.module, candidate.attribute), candidate)
    return list(unique.values()), problems


def experiments_in(candidate: Candidate) -> list[type[Experiment]]:
    """Import the module; the concrete experiments that it defines itself. Raises what the import raises."""
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
    shown = traceback.TracebackException.from_exception(error)
    inner = [frame for frame in shown.stack if not _is_machinery(frame.filename)]
    shown.stack = traceback.StackSummary.from_list(inner)
    return Problem(candidate.where, "".join(shown.format()), candidate.hinted_names(), error=one_line(shown))


def one_line(shown: traceback.TracebackException) -> str:
    """The error's type and the first line of its message, then the last line if there are several."""
    text = "".join(shown.format_exception_only())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_FURTHER)] or [""]
    if shown.exc_type is not None and issubclass(shown.exc_type, SyntaxError):
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
        name = EXAMPLES if app.name == "experiments" else f"{app.name}.experiments"
        yield from _of_module(name, f"app {app.label}")


def _of_entry_points() -> Iterator[Candidate]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        where = f"entry point {point.name} = {point.value}"
        if point.attr:
            yield Candidate(point.module, where, _file(_spec(point.module)), point.attr)
        elif _spec(point.module) is None:
            yield Candidate(point.module, where)  # its import will say what is missing
        else:
            yield from _of_module(point.module, where)


def _of_module(name: str, where: str) -> Iterator[Candidate]:
    """A module, or a package with everything in it; nothing if there is none."""
    spec = _spec(name)
    if spec is None:
        return
    if spec.origin is not None:
        yield Candidate(name, f"{where}: {name}", _file(spec))
    for location in spec.submodule_search_locations or ():
        for file, module in _modules_in(Path(location), name):
            yield Candidate(module, f"{where}: {module}", file)


def _modules_in(folder: Path, package: str) -> Iterator[tuple[Path, str]]:
    """(file, dotted name) of each module below the folder of `package`, without the package's own file."""
    for path in sorted(folder.iterdir()):
        if _IGNORED.match(path.name.removesuffix(".py")):
            continue
        if path.suffix == ".py" and path.is_file():
            yield path, f"{package}.{path.stem}"
        elif (path / "__init__.py").is_file():
            yield path / "__init__.py", f"{package}.{path.name}"
            yield from _modules_in(path, f"{package}.{path.name}")


def _spec(name: str) -> ModuleSpec | None:
    """Spec of a module; None if there is none, or if its parent package, which this imports, is broken."""
    try:
        return importlib.util.find_spec(name)
    except KeyboardInterrupt:
        raise
    except BaseException:  # an author's package may raise anything
        return None


def _file(spec: ModuleSpec | None) -> Path | None:
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
