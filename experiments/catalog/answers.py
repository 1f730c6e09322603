"""Answers of the catalog, computed where authors' code may run: in the catalog process, or in a user's own script."""

from __future__ import annotations

import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pydantic import BaseModel

from experiments import folders
from experiments.base import Experiment
from experiments.catalog.entries import Catalog, Entry, Problem, dumped, loaded
from experiments.discovery import one_line
from experiments.forms.introspection import describe_form
from experiments.registry import Registry, registry
from experiments.schema import describe, json_schema
from experiments.source import source_digest, source_file
from experiments.validation import (
    Definition,
    accepted_configuration,
    masked,
    validate_configuration,
    validate_definition,
)

Guard = Callable[[type[Experiment]], AbstractContextManager[Any]]


def catalog_of(source: Registry, guard: Guard = nullcontext) -> Catalog:
    """Describe every experiment. One that cannot be described becomes a problem and leaves the others alone."""
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for experiment in source.values():
        try:
            with guard(experiment), folders.inside(folders.folder_of(experiment.__module__)):
                entries[experiment.name] = loaded(Entry, json.loads(json.dumps(dumped(describe_one(experiment)))))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an author's hooks may raise anything
            problems.append(_cannot_describe(experiment, error))
    return Catalog(entries, [*source.problems, *problems])


def describe_one(experiment: type[Experiment]) -> Entry:
    """Describe one experiment. Raises any exception of the author's declarations and hooks."""
    return Entry(
        name=experiment.name,
        title=experiment.title,
        description=inspect.cleandoc(experiment.__doc__ or ""),
        queue=experiment.queue,
        hidden=experiment.hidden,
        on_lost=experiment.on_lost,
        max_attempts=experiment.max_attempts,
        declared_limits=experiment.limits.model_dump(),
        retries={
            kind: retry.model_dump() if isinstance(retry, BaseModel) else retry
            for kind, retry in experiment.retries.items()
        },
        comparable=dict(experiment.comparable),
        schema=json_schema(experiment),
        fields=describe(experiment),
        form=describe_form(experiment.Config),
        source_file=str(source_file(experiment) or ""),
        source_digest=source_digest(experiment),
    )


def validate(name: str, configuration: Any, limits: Any, tags: Any) -> Definition:
    """Validate configuration, limits and tags together. Raises InvalidDefinition."""
    with folders.inside(_folder(name)):
        return validate_definition(name, configuration, limits, tags)


def show(name: str, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a stored configuration with masked secrets, and whether it still fits the experiment."""
    with folders.inside(_folder(name)):
        try:
            config = validate_configuration(registry().get(name), configuration)
            return config.model_dump(mode="json", round_trip=True), True
        except Exception:  # it does not fit any more, or the author's serializer fails
            return masked(name, configuration), False


def configure(name: str, configuration: Any) -> dict[str, Any]:
    """Return the stored form of a configuration. Raises InvalidDefinition, or what `Registry.get` raises."""
    with folders.inside(_folder(name)):
        return accepted_configuration(registry().get(name), configuration)[0]


def _folder(name: str) -> Any:
    experiments = registry()
    return folders.folder_of(experiments.get(name).__module__) if name in experiments else None


def _cannot_describe(experiment: type[Experiment], error: BaseException) -> Problem:
    report = traceback.TracebackException.from_exception(error)
    where = f"{source_file(experiment) or experiment.__module__}, class {experiment.__qualname__}"
    return Problem(where, "".join(report.format()), frozenset({experiment.name}), error=one_line(report))
