"""Environment variables that configurations may name: those of ATHANOR_EXPERIMENTS_VARIABLES, none by default.

Otherwise, users who may launch an experiment could read every variable of its process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

OWN = ("ATHANOR_", "CELERY_", "DJANGO_SUPERUSER_")
"""Prefixes of Athanor's own variables, which no setting lets configurations name: workers have credentials in them."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_named(name: str, patterns: Collection[str]) -> bool:
    """Return whether a name matches one of the patterns: names, and prefixes with a `*` at the end."""
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in patterns)


def checked(name: str) -> str:
    """Return the name if it is empty or configurations may use it. Raises ValueError."""
    from experiments.conf import experiments_settings

    if name and (name.startswith(OWN) or not is_named(name, experiments_settings().variables)):
        raise ValueError(
            f"configurations may not name the environment variable {name!r}. The operator can allow it with"
            " ATHANOR_EXPERIMENTS_VARIABLES"
        )
    return name


def value_of(name: str) -> str | None:
    """Return the value of a variable that a configuration names; None if it is not set. Raises ValueError."""
    return os.environ.get(checked(name)) if name else None


VariableName = Annotated[str, AfterValidator(checked)]
"""Field of a configuration with the name of an environment variable, checked at the launch; it may be empty."""


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _NAME.fullmatch(name.removesuffix("*")):
            raise ValueError(f"{name!r} is neither the name of a variable nor a prefix with a * at its end")
    return names


Variables = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_patterns)]
"""Setting with names of variables, and prefixes with a `*` at the end; as text, separated by commas."""
