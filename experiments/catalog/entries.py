"""Experiments as data: sent by the catalog process as JSON, without any code of authors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from experiments.discovery import Problem
from experiments.exceptions import BrokenExperiment, CatalogUnavailable, UnknownExperiment
from experiments.forms.fields import Field
from experiments.limits import Limits
from experiments.schema import FieldHelp

__all__ = ["Catalog", "Entry", "Problem", "dumped", "loaded"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Declarations of one experiment."""

    name: str
    title: str
    description: str
    """Docstring of the class."""
    queue: str
    hidden: bool
    on_lost: str
    max_attempts: int
    declared_limits: dict[str, Any]
    retries: dict[str, Any]
    """Kind of failure → number of retries, or the fields of a Retry."""
    comparable: dict[str, float]
    schema: dict[str, Any]
    """JSON schema of the configuration."""
    fields: list[FieldHelp]
    form: Field
    source_file: str
    source_digest: str

    @property
    def limits(self) -> Limits:
        return Limits.model_validate(self.declared_limits)


@dataclass(frozen=True)
class Catalog:
    """All experiments by name, and the problems that excluded others. Immutable."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unavailable: str = ""
    """Reason why the catalog is incomplete, in a sentence; empty if it is complete."""

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the experiments that are not hidden."""
        return tuple(entry.name for entry in self.all())

    def all(self) -> tuple[Entry, ...]:
        """Return all experiments that are not hidden, ordered by name; `get` returns hidden ones too."""
        return tuple(entry for entry in self.entries.values() if not entry.hidden)

    def get(self, name: str) -> Entry:
        """Return an experiment. Raises BrokenExperiment if a problem probably excludes it, CatalogUnavailable or
        UnknownExperiment.
        """
        if entry := self.entries.get(name):
            return entry
        for problem in self.problems:
            if name in problem.names and not problem.is_notice:
                raise BrokenExperiment(name, problem.where, problem.reason, problem.traceback)
        if self.unavailable:
            raise CatalogUnavailable(self.unavailable)
        raise UnknownExperiment(name, self.names, broken=sum(not problem.is_notice for problem in self.problems))

    def with_problems(self, problems: Iterable[Problem], unavailable: str = "") -> Catalog:
        return replace(self, problems=[*self.problems, *problems], unavailable=unavailable)


def dumped(value: Any) -> Any:
    """Convert a dataclass to JSON values. Raises TypeError or ValueError for a value without a JSON form."""
    built = msgspec.to_builtins(value)
    json.dumps(built)
    return built


def loaded(kind: type[Any], built: Mapping[str, Any]) -> Any:
    """Convert JSON values to the dataclass `kind`. Raises msgspec.ValidationError (a ValueError) if they do not fit."""
    return msgspec.convert(built, kind)
