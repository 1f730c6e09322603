"""Describe an experiment's configuration from its pydantic model: for forms, commands and messages."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.fields import FieldInfo

from experiments.base import Experiment

_CONSTRAINTS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "like {}",
}


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """Description of one field of a configuration."""

    name: str
    type: str
    required: bool
    default: Any
    """JSON; None when required."""
    title: str
    description: str
    constraints: str

    @property
    def default_json(self) -> str:
        return json.dumps(self.default, ensure_ascii=False)


def json_schema(experiment: type[Experiment]) -> dict[str, Any]:
    """Return the JSON schema of the configuration; an object of untyped properties if pydantic has none."""
    try:
        return experiment.Config.model_json_schema(by_alias=False)
    except (PydanticUserError, PydanticSchemaGenerationError, TypeError, ValueError):
        return {"type": "object", "properties": {name: {} for name in experiment.Config.model_fields}}


def describe(experiment: type[Experiment]) -> list[FieldHelp]:
    """Describe the fields of the configuration, in the author's order."""
    schema = json_schema(experiment)
    rows = []
    for name, info in experiment.Config.model_fields.items():
        shape = schema.get("properties", {}).get(name, {})
        rows.append(
            FieldHelp(
                name=name,
                type=_type(shape, schema.get("$defs", {})),
                required=info.is_required(),
                default=None if info.is_required() else _default(experiment.Config, name, info),
                title=info.title or name.replace("_", " ").capitalize(),
                description=info.description or "",
                constraints=", ".join(_constraints(shape)),
            )
        )
    return rows


def models_at(config: type[BaseModel], location: Sequence[int | str]) -> set[type[BaseModel]]:
    """Return the models that may be at the location of a pydantic error; indexes, keys and union tags are steps too."""
    models = {config}
    for step in location:
        fields = [field for model in models if (field := _field(model, step)) is not None]
        if fields:
            models = {model for field in fields for model in _models_in(field.annotation)}
        else:
            models = {model for model in models if model.__name__ == step} or models
    return models


def _field(model: type[BaseModel], step: int | str) -> FieldInfo | None:
    for name, info in model.model_fields.items():
        if step in (name, info.alias, info.validation_alias):
            return info
    return None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation such as `list[A | B] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _default(config: type[BaseModel], name: str, info: FieldInfo) -> Any:
    """Return the default as JSON; None if it has no JSON form."""
    try:
        value = info.get_default(call_default_factory=True, validated_data={})
        dumped = config.model_construct(**{name: value}).model_dump(mode="json", include={name}, warnings="none")
    except Exception:  # an author's factory or serializer may raise anything
        return None
    return dumped.get(name)


def _type(shape: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return the type of a JSON schema in a few words: `integer`, `list of text`, `a | b`."""
    if choices := shape.get("enum") or ([shape["const"]] if "const" in shape else None):
        return " | ".join(str(value) for value in choices)
    if "$ref" in shape:
        name = shape["$ref"].rsplit("/", 1)[-1]
        target = definitions.get(name, {})
        return _type(target, definitions) if "enum" in target else name
    if options := shape.get("anyOf") or shape.get("oneOf"):
        return " | ".join(dict.fromkeys(_type(option, definitions) for option in options))
    if shape.get("type") == "array":
        return f"list of {_type(shape.get('items', {}), definitions)}"
    if shape.get("type") == "string":
        return str(shape.get("format", "text"))
    return str(shape.get("type", "any"))


def _constraints(shape: dict[str, Any]) -> Iterator[str]:
    for option in (shape, *shape.get("anyOf", ())):
        for key, text in _CONSTRAINTS.items():
            if key in option:
                yield text.format(option[key])
