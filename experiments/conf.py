"""Settings as frozen dataclasses: a default, a unit and a meaning each; an unknown name is refused with a suggestion.

A value comes from Django's settings (a dict, `ATHANOR_RUNS = {"lease_s": 20}`) or from the environment
(`ATHANOR_RUNS_LEASE_S=20`, which wins). Values are validated by pydantic against the field's type.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from pydantic import TypeAdapter, ValidationError

SettingsT = TypeVar("SettingsT")


def load(cls: type[SettingsT], prefix: str, values: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> SettingsT:
    """An instance of the dataclass `cls` from `values`, overridden by the environment's `PREFIX_NAME` variables.

    Raises ImproperlyConfigured, naming the setting and its nearest known name, for what is unknown or does not fit.
    """
    environ = os.environ if environ is None else environ
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # cls is a dataclass by contract
    given: dict[str, Any] = dict(values)
    for name in fields:
        if (text := environ.get(f"{prefix}_{name.upper()}")) is not None:
            given[name] = text
    for name in given.keys() - fields:
        raise ImproperlyConfigured(f"{prefix} has no setting {name!r}{_suggestion(name, fields)}")
    try:
        return TypeAdapter(cls).validate_python(given)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ImproperlyConfigured(f"{prefix}: {problems}") from error


def _suggestion(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
