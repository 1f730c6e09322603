"""Sources of generated forms, with their validation: a configuration, overrides of limits, retries.

Each source has its fields, their initial values, and a check that raises `InvalidDefinition` with the paths of
problems.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from experiments import catalog
from experiments.catalog import Entry
from experiments.exceptions import InvalidDefinition, plain_message
from experiments.forms.encoding import concealed
from experiments.forms.fields import MISSING, Kind
from experiments.forms.fields import Field as FormField
from experiments.forms.introspection import describe_form
from experiments.limits import Limits
from experiments.quantities import seconds, seconds_text, size_bytes, size_text
from experiments.retry import RetriedKind, Retry, retries_in_force
from experiments.validation import validate_limits

NO_LIMIT = "none"


@dataclass(frozen=True, slots=True)
class Source:
    """One generated part of a form."""

    root: FormField
    shown: Any
    """Initial value, without secrets; MISSING where only defaults are shown."""
    check: Callable[[Any], Any]
    """Entered value → stored value. Raises InvalidDefinition."""
    stored: Any = MISSING
    """Stored value, with secrets."""
    of: str = ""
    """Name of the experiment."""
    version: str = ""
    """Version of the stored value; a form that was drawn from another version is refused."""


def configuration_source(
    experiment: Entry | None, stored: Any = MISSING, *, name: str = "", version: str = ""
) -> Source:
    """Return the source of a configuration; unchecked JSON if the experiment `name` no longer exists."""
    if experiment is None:
        shown = catalog.masked(name, stored) if isinstance(stored, dict) else stored
        root = FormField("", Kind.JSON, required=True, is_secretive=True)
        return Source(root, shown, lambda value: value, stored, name, version)
    return Source(
        experiment.form,
        displayed_configuration(experiment, stored),
        lambda value: catalog.configure(experiment.name, value),
        stored,
        experiment.name,
        version,
    )


def displayed_configuration(experiment: Entry, stored: Any) -> Any:
    """Return a configuration without its secrets, also if it does not fit any more."""
    if not isinstance(stored, Mapping):
        return MISSING
    shown, fits = catalog.show(experiment.name, stored)
    return concealed(experiment.form, shown, is_trusted=fits)


def limits_source(experiment: Entry | None, declared: Limits, overrides: Mapping[str, Any]) -> Source:
    """Return the source of overrides of limits, as people write them; empty inputs keep the `declared` limit."""
    fields = tuple(_limit(name, info, getattr(declared, name)) for name, info in Limits.model_fields.items())
    root = FormField("", Kind.GROUP, required=True, fields=fields)
    shown = {name: _limit_text(name, value) for name, value in overrides.items() if name in Limits.model_fields}

    def check(entered: Any) -> Any:
        read, problems = _read_limits(entered) if isinstance(entered, Mapping) else (entered, {})
        if problems:
            raise InvalidDefinition(experiment.name if experiment else "", problems)
        return validate_limits(experiment, read) if experiment else read

    return Source(root, shown, check)


def _limit(name: str, info: Any, declared: Any) -> FormField:
    is_size = name.endswith("_bytes")
    title = name.rpartition("_")[0].replace("_", " ").capitalize()
    return FormField(
        name,
        Kind.TEXT,
        title=title,
        description=info.description or "",
        hints=("as 512M, 4G" if is_size else "as 90s, 10m, 2h", *([f"or {NO_LIMIT}"] if info.default is None else [])),
        placeholder=f"{_limit_text(name, declared) if declared is not None else NO_LIMIT} (default)",
        default="",
    )


def _limit_text(name: str, value: Any) -> str:
    if value is None:
        return NO_LIMIT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return size_text(value) if name.endswith("_bytes") else seconds_text(value)


def _read_limits(entered: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return overrides, and problems by path. Programs send numbers and null, people send text."""
    read: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, text in entered.items():
        try:
            if text != "":
                read[name] = _read_limit(name, text.strip().lower()) if isinstance(text, str) else text
        except ArgumentTypeError as error:
            problems[f"limits.{name}"] = str(error)
    return read, problems


def _read_limit(name: str, text: str) -> float | None:
    if text == NO_LIMIT:
        return None
    if text in ("0", "0s"):
        return 0
    return size_bytes(text) if name.endswith("_bytes") else seconds(text)


class RetryRule(Retry):
    """Rule of the form: it replaces the declared policy for its failure kind."""

    kind: RetriedKind = Field("error", title="Failure kind")
    times: int = Field(1, ge=0, le=1000, title="Times", description="Further attempts after failures of this kind")


class _Rules(BaseModel):
    rules: list[RetryRule] = Field([], title="Retries")


def retries_source(experiment: Entry, initial: Mapping[str, Any]) -> Source:
    """Return the source of retries as a list of rules; `initial`: failure kind → policy of the launch."""
    declared = retries_in_force(experiment.retries, on_lost=experiment.on_lost, max_attempts=experiment.max_attempts)
    root = describe_form(_Rules)
    help_text = f"Default: {_retries_text(declared)}. A rule replaces the default for its failure kind."
    root = replace(root, fields=(replace(root.fields[0], description=help_text),))
    rules = [{"kind": kind, **policy} for kind, policy in initial.items() if policy != declared.get(kind)]
    return Source(root, {"rules": rules}, lambda entered: _checked_rules(experiment, entered))


def _retries_text(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """Format policies: `error 3 times, lost 2 times`."""
    retried = [(kind, policy["times"]) for kind, policy in policies.items() if policy["times"]]
    return ", ".join(f"{kind} {times} time{'s' * (times != 1)}" for kind, times in retried) or "no retries"


def _checked_rules(experiment: Entry, entered: Any) -> dict[str, Any]:
    try:
        rules = _Rules.model_validate(entered).rules
    except ValidationError as error:
        problems = {".".join(("retries", *map(str, one["loc"]))): plain_message(one) for one in error.errors()}
        raise InvalidDefinition(experiment.name, problems) from error
    kinds = [rule.kind for rule in rules]
    if duplicates := {
        f"retries.rules.{n}.kind": "This kind already has a rule." for n, k in enumerate(kinds) if k in kinds[:n]
    }:
        raise InvalidDefinition(experiment.name, duplicates)
    return {rule.kind: rule.model_dump(exclude={"kind"}) for rule in rules}
