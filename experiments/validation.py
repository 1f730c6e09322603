"""Validation of configuration, limits and tags, the same for forms, commands and Python.

Unknown keys are refused at any depth, although pydantic ignores them by default; a model that sets `extra="allow"`
stays open. Errors have dotted paths. The result is JSON with all defaults. It is stored, read by the process of a run,
and validates again.

**Secrets.** The stored value of a `SecretStr` or `SecretBytes` field is in clear: the run needs it, and so does a
rerun. Pages and commands must show `masked(...)`; the mask is never accepted as a secret. `experiments.forms.keeping`
says when a form that sends it back keeps the stored value. Prefer to configure the name of an environment variable that
holds the secret, as `experiments.examples.llm_compare` does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from experiments import restoring
from experiments.base import Experiment
from experiments.conf import experiments_settings
from experiments.exceptions import ExperimentsError, InvalidDefinition, did_you_mean, plain_message
from experiments.limits import Limits
from experiments.registry import registry
from experiments.schema import models_at

if TYPE_CHECKING:
    from experiments.catalog.entries import Entry

MASK = "**********"
_PLAIN = frozenset({str, int, float, bool, type(None)})
_INTEGER_BITS_MAX = 14_280
"""4,299 digits; Python parses at most 4,300."""


@dataclass(frozen=True, slots=True)
class Definition:
    """Validated definition of a run or an instance."""

    configuration: dict[str, Any]
    """Complete configuration, with defaults."""
    limits: dict[str, Any]
    """Overrides of the experiment's limits."""
    tags: list[str]
    secrets: list[list[str | int]]
    """Paths of the secrets in the configuration."""


def validate_definition(
    experiment_name: str, configuration: Any = None, limits: Any = None, tags: Any = None
) -> Definition:
    """Validate configuration, limits and tags together. Raises InvalidDefinition with all problems."""
    try:
        experiment = registry().get(experiment_name)
    except ExperimentsError as error:
        raise InvalidDefinition(experiment_name, {"experiment": str(error)}) from error
    problems: dict[str, str] = {}
    checked: dict[str, Any] = {}
    for field, check in (
        ("configuration", lambda: accepted_configuration(experiment, configuration)),
        ("limits", lambda: validate_limits(experiment, limits)),
        ("tags", lambda: validate_tags(experiment.name, tags)),
    ):
        try:
            checked[field] = check()
        except InvalidDefinition as error:
            problems.update(error.problems)
    if problems:
        raise InvalidDefinition(experiment.name, problems)
    stored, secrets = checked.pop("configuration")
    return Definition(configuration=stored, secrets=secrets, **checked)


def validate_configuration(experiment: type[Experiment], data: Any) -> BaseModel:
    """Return the configuration as the experiment's own model. `data`: JSON or Python values; None is empty.

    `stored_configuration` turns the result into JSON, and `restored_configuration` makes an equal model of it in the
    run. Raises InvalidDefinition, also if the stored form would not give back the accepted values.
    """
    accepted = _parsed(experiment, {} if data is None else data)
    restored, problems = _stored_and_restored(experiment, accepted)
    if any(not problem.is_of_default for problem in problems):
        raise _unlike(experiment, [problem for problem in problems if not problem.is_of_default])
    if problems:  # defaults are not validated, stored values are: a type may change once
        restored, problems = _stored_and_restored(experiment, restored)
        if problems:
            raise _unlike(experiment, problems)
    return restored


def accepted_configuration(experiment: type[Experiment], data: Any) -> tuple[dict[str, Any], list[list[str | int]]]:
    """Return the stored form of a new configuration, and the paths of its secrets.

    Raises InvalidDefinition, also for the mask of a secret.
    """
    stored, values = _stored_and_python(validate_configuration(experiment, data))
    secrets = {tuple(path): value for path, value in _secrets((), values, stored)}
    masks = [path for path, value in secrets.items() if value == MASK]
    if masks:
        why = f"{MASK} is only a placeholder. Enter the secret itself."
        raise InvalidDefinition(experiment.name, {".".join(map(str, ("configuration", *path))): why for path in masks})
    return stored, [list(path) for path in secrets]


def _secrets(path: tuple[str | int, ...], value: Any, stored: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield (path, stored value) of the secrets of `value`, whose stored form is `stored`."""
    if hasattr(value, "get_secret_value"):
        yield path, stored
    elif isinstance(value, Mapping) and isinstance(stored, dict) and len(value) == len(stored):
        for item, key in zip(value.values(), stored, strict=True):
            if type(item) not in _PLAIN:
                yield from _secrets((*path, key), item, stored[key])
    elif isinstance(value, list | tuple | set | frozenset) and isinstance(stored, list) and len(value) == len(stored):
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                yield from _secrets((*path, index), item, stored[index])


def restored_configuration(experiment: type[Experiment], stored: Mapping[str, Any]) -> BaseModel:
    """Return the model accepted at the launch, from its stored form. Raises InvalidDefinition if it does not fit."""
    return _parsed(experiment, stored)


def stored_configuration(config: BaseModel) -> dict[str, Any]:
    """Return the JSON form of a configuration, with secrets in clear. Raises InvalidDefinition if it has none."""
    return _stored_and_python(config)[0]


def _stored_and_python(config: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        dumped = config.model_dump(mode="json", round_trip=True, by_alias=False, warnings="none")
        values = config.model_dump(round_trip=True, by_alias=False, warnings="none")
        revealed: dict[str, Any] = _revealed(values, dumped)
    except Exception as error:  # an author's serializer may raise anything
        texts = {f"configuration{path}": f"Has no JSON form: {text}" for path, text in _formless(config, error)}
        raise InvalidDefinition(type(config).__qualname__, texts) from error
    return revealed, values


def _stored_and_restored(
    experiment: type[Experiment], accepted: BaseModel
) -> tuple[BaseModel, list[restoring.Problem]]:
    """Return what the run will get, and its differences from `accepted`. Raises InvalidDefinition."""
    stored = stored_configuration(accepted)
    if problems := dict(_not_storable("configuration", stored)):
        raise InvalidDefinition(experiment.name, problems)
    size, most = len(json.dumps(stored).encode()), experiments_settings().configuration_max_bytes
    if size > most:
        raise InvalidDefinition(
            experiment.name, {"configuration": f"{size:,} bytes as JSON; at most {most:,} are allowed."}
        )
    try:
        restored = _parsed(experiment, stored)
    except InvalidDefinition as error:
        texts = {path: _unrestorable(stored, path, text) for path, text in error.problems.items()}
        raise InvalidDefinition(experiment.name, texts) from error
    return restored, restoring.problems(accepted, restored, stored, lambda: _parsed(experiment, stored))


def _unlike(experiment: type[Experiment], problems: Iterable[restoring.Problem]) -> InvalidDefinition:
    texts = {".".join(("configuration", *map(str, problem.path))): problem.reason for problem in problems}
    return InvalidDefinition(experiment.name, texts)


def _unrestorable(stored: Any, path: str, text: str) -> str:
    if restoring.is_excluded(stored, tuple(path.split(".")[1:])):
        return "Left out of the stored form (exclude=True, or a serializer), so that the run would not get it."
    return f"Accepted, but its stored form is not: {text}"


def _formless(config: BaseModel, error: Exception, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, reason) of the fields without a JSON form."""
    is_reported = False
    for name in type(config).model_fields:
        try:
            config.model_dump(mode="json", round_trip=True, include={name}, warnings="none")
        except Exception as inner:
            is_reported, value = True, getattr(config, name)
            if isinstance(value, BaseModel):
                yield from _formless(value, inner, f"{path}.{name}")
            else:
                yield f"{path}.{name}", str(inner)
    if not is_reported:
        yield path, str(error)


def validate_limits(experiment: type[Experiment] | Entry, overrides: Any) -> dict[str, Any]:
    """Return the overrides, validated together with the experiment's own limits. Raises InvalidDefinition."""
    if overrides is not None and not isinstance(overrides, Mapping):
        raise InvalidDefinition(experiment.name, {"limits": "Must be an object."})
    try:
        checked = experiment.limits.overridden(overrides).model_dump(mode="json")
    except ValidationError as error:
        raise InvalidDefinition(experiment.name, _problems("limits", Limits, error.errors())) from error
    return {name: checked[name] for name in overrides or {}}


def validate_tags(experiment_name: str, tags: Any) -> list[str]:
    """Return tags without duplicates and surrounding whitespace, in their order; used for every source of tags.

    Raises InvalidDefinition.
    """
    conf = experiments_settings()
    if tags is not None and (isinstance(tags, str | Mapping) or not isinstance(tags, Sequence)):
        raise InvalidDefinition(experiment_name, {"tags": "Must be a list."})
    tags, problems = tags or (), {}
    for index, tag in enumerate(tags):
        if not isinstance(tag, str) or not tag.strip() or "," in tag or not tag.strip().isprintable():
            problems[f"tags.{index}"] = "Must be one line of text, not empty, without commas."
        elif len(tag.strip()) > conf.tag_max_chars:
            problems[f"tags.{index}"] = f"Longer than {conf.tag_max_chars} characters."
    if problems:
        raise InvalidDefinition(experiment_name, problems)
    unique = list(dict.fromkeys(tag.strip() for tag in tags))
    if len(unique) > conf.tags_max:
        raise InvalidDefinition(
            experiment_name, {"tags": f"At most {conf.tags_max} tags are allowed, not {len(unique)}."}
        )
    return unique


def masked(experiment_name: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored configuration with the values of secret fields replaced by a mask.

    Without the experiment, or if the configuration no longer fits, all texts with a secret-like name are masked.
    """
    try:
        config = _parsed(registry().get(experiment_name), configuration)
        dumped: dict[str, Any] = config.model_dump(mode="json", round_trip=True)
    except Exception:  # the experiment is missing or has changed: fall back to names
        return masked_by_name(configuration)
    return dumped


def masked_by_name(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with every text masked that has a secret-like name, for use without its experiment."""
    return {key: _masked_by_name(key, value) for key, value in configuration.items()}


def _parsed(experiment: type[Experiment], data: Any) -> BaseModel:
    """Validate, refusing unknown keys. JSON is read as JSON, so that strict models take dates and enums from text."""
    if isinstance(data, BaseModel):
        data = stored_configuration(data)
    if not isinstance(data, Mapping):
        raise InvalidDefinition(experiment.name, {"configuration": "Must be an object."})
    try:
        return _validated(experiment.Config, dict(data), extra="forbid")
    except RecursionError as error:
        raise InvalidDefinition(experiment.name, {"configuration": "Nested too deeply."}) from error
    except ValidationError as error:
        problems = _problems("configuration", experiment.Config, error.errors())
    if not problems:  # every reported key is allowed by its model
        try:
            return _validated(experiment.Config, dict(data), extra=None)
        except ValidationError as error:
            problems = _problems("configuration", experiment.Config, error.errors())
    raise InvalidDefinition(experiment.name, problems)


def _validated(config: type[BaseModel], data: dict[str, Any], *, extra: Any) -> BaseModel:
    try:
        text = json.dumps(data, ensure_ascii=False).encode() if _is_json(data) else None
    except ValueError:  # half a surrogate pair, or an integer of too many digits
        text = None
    if text is None:
        return config.model_validate(data, extra=extra, by_alias=True, by_name=True)
    return config.model_validate_json(text, extra=extra, by_alias=True, by_name=True)


def _is_json(value: Any) -> bool:
    """Return whether a Python value has JSON types only: no tuples, no keys except text, no subclasses."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return all(map(_is_json, value)) if kind is list else kind in (str, int, float, bool, type(None))


def _problems(field: str, config: type[BaseModel], errors: Sequence[ErrorDetails]) -> dict[str, str]:
    """Return dotted path → message; a key that its model explicitly allows is not a problem."""
    problems = {}
    for error in errors:
        path = ".".join((field, *map(str, error["loc"])))
        message = plain_message(error)
        if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            owners = models_at(config, error["loc"][:-1])
            if any(owner.model_config.get("extra") == "allow" for owner in owners):
                continue
            valid = {name for owner in owners for name in owner.model_fields}
            message = f"unknown{did_you_mean(str(error['loc'][-1]), valid)}"
        problems[path] = message
    return problems


def _revealed(value: Any, dumped: Any) -> Any:
    """Return `dumped` (JSON) with the secrets of `value` (the same in Python) in clear."""
    if hasattr(value, "get_secret_value"):
        secret = value.get_secret_value()
        if isinstance(secret, bytes):
            return secret.decode()
        return to_jsonable_python(secret) if isinstance(dumped, str) else dumped
    if isinstance(value, Mapping) and isinstance(dumped, dict) and len(value) == len(dumped):
        return {key: _revealed(inner, dumped[key]) for inner, key in zip(value.values(), dumped, strict=True)}
    if isinstance(value, list | tuple | set | frozenset) and isinstance(dumped, list) and len(value) == len(dumped):
        return [_revealed(inner, item) for inner, item in zip(value, dumped, strict=True)]
    return dumped


def _not_storable(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (dotted path, reason) of values that JSON or a database cannot store."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, "Must be finite: JSON has no NaN and no infinity."
    elif isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX:
        yield path, "Has more than 4,299 digits."
    elif isinstance(value, str) and ("\0" in value or _has_surrogate(value)):
        yield path, "Contains a NUL character or half a surrogate pair, which databases refuse."
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_storable(path, key)
            yield from _not_storable(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_storable(f"{path}.{index}", inner)


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _masked_by_name(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _masked_by_name(inner, item) for inner, item in value.items()}
    if isinstance(value, list):
        return [_masked_by_name(key, item) for item in value]
    return MASK if isinstance(value, str) and is_secret_like(key) else value


def is_secret_like(name: str) -> bool:
    """Return whether a key is probably that of a secret."""
    words = ("secret", "password", "passphrase", "token", "api_key", "credential")
    return any(word in name.lower() for word in words)
