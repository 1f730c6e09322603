"""Settings as frozen dataclasses: each has a default, a unit and a description; unknown names raise with a suggestion.

A value comes from Django's settings (a dict, `ATHANOR_RUNS = {"lease_s": 20}`) or from the environment
(`ATHANOR_RUNS_LEASE_S=20`, which wins). Values are validated by pydantic against the field's type.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pydantic import TypeAdapter, ValidationError

from experiments.exceptions import did_you_mean, plain_message
from experiments.variables import Variables

SettingsT = TypeVar("SettingsT")


def load(
    cls: type[SettingsT], prefix: str, values: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> SettingsT:
    """Return the dataclass `cls` filled from `values`, overridden by the environment's `PREFIX_NAME` variables.

    Raises ImproperlyConfigured for an unknown name, with the nearest valid one, and for an invalid value.
    """
    environ = os.environ if environ is None else environ
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # cls is a dataclass by contract
    merged: dict[str, Any] = dict(values)
    for name in fields:
        if (text := environ.get(f"{prefix}_{name.upper()}")) is not None:
            merged[name] = text
    for name in merged.keys() - fields:
        raise ImproperlyConfigured(f"{prefix} has no setting {name!r}{did_you_mean(name, fields)}")
    try:
        return TypeAdapter(cls).validate_python(merged)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {plain_message(e)}" for e in error.errors())
        raise ImproperlyConfigured(f"{prefix}: {problems}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class ExperimentsSettings:
    """Django setting ATHANOR_EXPERIMENTS, environment ATHANOR_EXPERIMENTS_<NAME>."""

    configuration_max_bytes: int = 256 * 1024
    """Largest configuration of an instance or a launch, as JSON."""
    tags_max: int = 50
    """Most tags of an instance or a run."""
    tag_max_chars: int = 100
    """Longest tag."""
    refresh_s: float = 2.0
    """Seconds between two checks for changed files of experiments; 0 never checks again."""
    import_max_s: float = 15.0
    """Longest import of one source of experiments in the catalog process; one that takes longer is left out."""
    validate_max_s: float = 10.0
    """Longest validation of one configuration by the catalog process."""
    catalog_wait_s: float = 20.0
    """Longest time that a page or command waits for the catalog while experiments are being loaded."""
    secret_folders: str = "/run/secrets"  # noqa: S105  # a path
    """Folders, separated like PATH, whose files secret fields may name as `file:PATH`."""
    secret_file_max_bytes: int = 64 * 1024
    """Maximum size of such a file."""
    catalog_start_s: float = 60.0
    """Longest time that a new catalog process may take to load Django."""
    variables: Variables = ()
    """Environment variables that configurations may name, and that experiments get: names and prefixes, `OPENAI_*`."""
    examples: bool | None = None
    """Offer the shipped examples. The default is to offer them unless ATHANOR_PRODUCTION is 1."""
    examples_folder: Path | None = None
    """Folder below which shipped examples may read files. By default, each run's own work folder."""


@cache
def experiments_settings() -> ExperimentsSettings:
    """Return the settings of this process, read once."""
    return load(ExperimentsSettings, "ATHANOR_EXPERIMENTS", getattr(settings, "ATHANOR_EXPERIMENTS", {}))


def offers_examples() -> bool:
    """Return whether the shipped examples can be launched."""
    chosen = experiments_settings().examples
    return not getattr(settings, "PRODUCTION", False) if chosen is None else chosen


def experiment_paths() -> list[Path]:
    """Return folders of experiments: ATHANOR_EXPERIMENT_PATHS of the environment (separated like PATH), or the setting.

    Not cached; relative folders are resolved against the current directory.
    """
    value = os.environ.get("ATHANOR_EXPERIMENT_PATHS", getattr(settings, "ATHANOR_EXPERIMENT_PATHS", ()))
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    return [Path(part).expanduser().absolute() for part in parts if str(part).strip()]
