"""Experiments as data: it travels from the catalog process as JSON, and holds no code of an author's."""

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
    """One experiment: what its class declares."""

    name: str
    title: str
    description: str
    """The docstring."""
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
    """All experiments by name, and what kept others out. Immutable."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unavailable: str = ""
    """Why it is not complete yet, in a sentence."""

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of what is offered."""
        return tuple(entry.name for entry in self.all())

    def all(self) -> tuple[Entry, ...]:
        """Every experiment that is offered, by name; hidden ones are found by `get` alone."""
        return tuple(entry for entry in self.entries.values() if not entry.hidden)

    def get(self, name: str) -> Entry:
        """Raises CatalogUnavailable, BrokenExperiment if a problem probably keeps it out, or UnknownExperiment."""
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
    """A dataclass as values of JSON. Raises TypeError or ValueError for what has no JSON form."""
    built = msgspec.to_builtins(value)
    json.dumps(built)
    return built


def loaded(kind: type[Any], built: Mapping[str, Any]) -> Any:
    """The dataclass again. Raises msgspec.ValidationError, which is a ValueError, for what does not fit."""
    return msgspec.convert(built, kind)
