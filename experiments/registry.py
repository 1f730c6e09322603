"""Experiments of this process. Discovered on first use, never when Django starts: a fork server imports none.

A broken module, an unusable class or a name used twice becomes a `Problem` and excludes only the experiments that it
concerns. The registry checks every `refresh_s` whether files of experiments have changed; then it discovers again and
imports the changed modules again.
"""

from __future__ import annotations

import importlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, RootModel

from experiments import folders
from experiments.base import Experiment
from experiments.conf import experiments_settings
from experiments.discovery import Candidate, Problem, candidates, experiments_in, import_problem
from experiments.exceptions import BrokenExperiment, UnknownExperiment
from experiments.limits import Limits
from experiments.remembered import known_candidates

Guard = Callable[[Candidate], AbstractContextManager[Any]]
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,199}")

__all__ = ["Problem", "Registry", "forget", "load_one", "registry"]


class Registry:
    """Experiments by name, and the problems that excluded others. Immutable."""

    def __init__(self, experiments: Mapping[str, type[Experiment]], problems: Iterable[Problem]) -> None:
        self._experiments = MappingProxyType(dict(sorted(experiments.items())))
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __contains__(self, name: object) -> bool:
        return name in self._experiments

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the experiments that are not hidden."""
        return tuple(experiment.name for experiment in self.all())

    def all(self) -> tuple[type[Experiment], ...]:
        """Return all experiments that are not hidden, ordered by name; `get` returns hidden ones too."""
        return tuple(experiment for experiment in self._experiments.values() if not experiment.hidden)

    def values(self) -> tuple[type[Experiment], ...]:
        """Return all experiments, including hidden ones."""
        return tuple(self._experiments.values())

    def get(self, name: str) -> type[Experiment]:
        """Return an experiment. Raises BrokenExperiment if a problem probably excludes it, or UnknownExperiment."""
        if experiment := self._experiments.get(name):
            return experiment
        for problem in self.problems:
            if name in problem.names:
                raise BrokenExperiment(name, problem.where, problem.reason, problem.traceback)
        raise UnknownExperiment(name, self.names, broken=sum(not p.is_notice for p in self.problems))


def registry() -> Registry:
    """Return the registry of this process. Thread-safe; the first call imports every module of experiments."""
    with _lock:
        if _current.registry is None or _current.is_stale():
            return _current.rediscover()
        return _current.registry


def install(registry: Registry) -> None:
    """Use this registry from now on, even if files change: the catalog process is replaced instead."""
    with _lock:
        _current.registry, _current.is_fixed = registry, True


def forget() -> None:
    """Discover again at the next use. For tests, and after a change of ATHANOR_EXPERIMENT_PATHS."""
    with _lock:
        _current.registry, _current.is_fixed = None, False


def load_one(name: str) -> type[Experiment]:
    """Load one experiment, importing no more modules than those that seem to define it, and stay inside its folder.

    Used by the process of a run: a broken module elsewhere does no harm, and entry points are searched last. Raises the
    exceptions of `Registry.get`.
    """
    likely = build([candidate for candidate in known_candidates() if candidate.mentions(name)])
    experiment = likely.get(name) if name in likely else registry().get(name)
    folders.enter(folders.folder_of(experiment.__module__))
    return experiment


def build(modules: Iterable[Candidate], problems: Iterable[Problem] = (), guard: Guard = nullcontext) -> Registry:
    """Import the candidates, each within `guard`, and collect their experiments. Their exceptions become problems."""
    problems = list(problems)
    claims: dict[str, dict[type[Experiment], Candidate]] = {}
    for candidate in modules:
        try:
            with guard(candidate):
                experiments = experiments_in(candidate)
            for experiment in experiments:
                if flaw := flaw_of(experiment):
                    where = f"{candidate.where}, class {experiment.__qualname__}"
                    problems.append(Problem(where, flaw, frozenset({str(experiment.name)})))
                else:
                    claims.setdefault(experiment.name, {})[experiment] = candidate
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an author's module may raise anything
            problems.append(import_problem(candidate, error))
    selected: dict[str, type[Experiment]] = {}
    for name, claim in claims.items():
        own = [experiment for experiment, candidate in claim.items() if not candidate.is_example]
        if len(claim) > 1:
            problems.append(_hides_example(name, claim) if len(own) == 1 else _duplicate(name, claim))
        if len(own) == 1 or len(claim) == 1:
            selected[name] = (own or list(claim))[0]
    return Registry(selected, problems)


def flaw_of(experiment: type[Experiment]) -> str:
    """Return why this class cannot be an experiment, in a sentence; empty if it can."""
    config = experiment.Config
    if not isinstance(experiment.name, str) or not NAME.fullmatch(experiment.name):
        return f"Its name {experiment.name!r} must be lower-case letters, digits, `_`, `-` and `.`, at most 200."
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        return "Its Config must be a subclass of pydantic.BaseModel."
    if issubclass(config, RootModel):
        return "Its Config must have named fields; a RootModel has none."
    if not isinstance(experiment.limits, Limits):
        return "Its limits must be an instance of experiments.Limits."
    if experiment.warm not in (True, False, None):
        return f"Its warm must be True, False or None, not {experiment.warm!r}."
    return ""


def _duplicate(name: str, claim: Mapping[type[Experiment], Candidate]) -> Problem:
    classes = [f"{experiment.__qualname__} ({candidate.where})" for experiment, candidate in claim.items()]
    return Problem(
        " and ".join(candidate.where for candidate in claim.values()),
        f"The name {name!r} is used by {' and by '.join(classes)}. None of them can be launched until one is renamed.",
        frozenset({name}),
    )


def _hides_example(name: str, claim: Mapping[type[Experiment], Candidate]) -> Problem:
    where = next(candidate.where for candidate in claim.values() if not candidate.is_example)
    return Problem(where, f"It replaces the shipped example {name!r}, which has the same name.", is_notice=True)


@dataclass
class _Current:
    """Discovered registry, with the state of the files at that time."""

    registry: Registry | None = None
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    checked_at: float = 0.0
    is_fixed: bool = False

    def is_stale(self) -> bool:
        """Return whether files have changed; checks at most every `refresh_s`."""
        refresh_s = experiments_settings().refresh_s
        if self.is_fixed or not refresh_s or time.monotonic() - self.checked_at < refresh_s:
            return False
        self.checked_at = time.monotonic()
        return _stamps(candidates()[0]) != self.files

    def rediscover(self) -> Registry:
        importlib.invalidate_caches()
        modules, problems = candidates()
        stamps = _stamps(modules)
        folders.forget_neighbours()
        for module in self.files.keys() - {name for name, stamp in stamps.items() if self.files.get(name) == stamp}:
            sys.modules.pop(module, None)
        self.registry, self.files, self.checked_at = build(modules, problems), stamps, time.monotonic()
        return self.registry


def _stamps(modules: Iterable[Candidate]) -> dict[str, tuple[int, int]]:
    """Return module → (modification time, size) of its file."""
    stamps = {}
    for candidate in modules:
        try:
            stat = candidate.file.stat() if candidate.file else None
        except OSError:
            stat = None
        stamps[candidate.module] = (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)
    return stamps


_lock = threading.RLock()
_current = _Current()
