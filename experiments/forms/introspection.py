"""Turn a pydantic model into fields of a form. Types that cannot be described become a field of JSON.

Besides pydantic's own attributes, authors may set in `json_schema_extra`: `unit` (a text), `multiline` (true).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import core_schema

from experiments.forms.fields import MISSING, Choice, Field, Kind, same

ALIASES = "x-aliases"
OPTIONS_MAX = 12
DEPTH_MAX = 6
LONG_CHARS = 200
Shape = dict[str, Any]

_UNITS = {"_s": "s", "_ms": "ms", "_bytes": "bytes", "_percent": "%", "_px": "px"}
_LENGTHS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "like {}",
    "multipleOf": "a multiple of {}",
}
_FORMATS = {
    "date-time": ("date and time", "2026-03-29T02:30:00Z"),
    "date": ("date", "2026-03-29"),
    "time": ("time", "02:30:00"),
    "duration": ("duration", "PT1H30M"),
    "uuid": ("UUID", ""),
    "uri": ("address", "https://…"),
    "path": ("path", ""),
}
_TAGS = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "array": "list", "object": "dict"}
"""Pydantic's names of types in the location of an error."""


def describe_form(model: type[BaseModel]) -> Field:
    """Describe a configuration as a group of fields, or as one field of JSON if pydantic has no schema for it."""
    try:
        schema = model.model_json_schema(by_alias=False, schema_generator=_Generator)
    except Exception:  # an author's schema hooks may raise anything
        return Field("", Kind.JSON, required=True, is_secretive=True)
    return describe_schema(schema)


def describe_schema(schema: Mapping[str, Any]) -> Field:
    """Describe the JSON schema of an object. Never raises for a schema."""
    shape = {key: value for key, value in schema.items() if key != "$defs"}
    return _Describer(schema.get("$defs", {})).field("", shape, required=True)


class _Generator(GenerateJsonSchema):
    """Pydantic's generator with computed defaults and aliases; types that JSON schema cannot express are allowed."""

    ignored_warning_kinds: Final = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # type: ignore[misc]

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002  # pydantic's
        return {}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Describe a decimal as text: its stored form is text."""
        shape = super().decimal_schema(schema)
        return {**shape.get("anyOf", [shape])[0], "type": "string", "format": "decimal"}

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        factory = schema.get("default_factory")
        if factory is None or schema.get("default_factory_takes_data"):
            return schema.get("default", NoDefault)
        try:
            return factory()  # type: ignore[call-arg]  # this factory takes no data
        except Exception:  # an author's factory may raise anything
            return NoDefault

    def model_field_schema(self, schema: core_schema.ModelField) -> JsonSchemaValue:
        shape = super().model_field_schema(schema)
        if aliases := list(_aliases(schema.get("validation_alias"))):
            shape = {**shape, ALIASES: aliases}
        return shape


def _aliases(declared: Any) -> Iterator[str]:
    """Yield aliases as they appear in the dotted path of an error."""
    for path in [declared] if isinstance(declared, str) else declared or ():
        yield path if isinstance(path, str) else ".".join(map(str, path))


class _Describer:
    def __init__(self, definitions: Mapping[str, Shape]) -> None:
        self._definitions = definitions

    def field(self, name: str, shape: Shape, *, required: bool, parents: tuple[str, ...] = ()) -> Field:
        """Describe one field. `parents`: enclosing definitions; a model within itself is shown as JSON."""
        own_title = shape.get("title", "")
        shape, parents, is_cycle = self._resolved(shape, parents)
        default = shape.get("default", MISSING)
        options, nullable = _without_null(shape)
        if len(options) == 1 and options[0] is not shape:
            shape, parents, cycle = self._resolved({**_rest(shape), **options[0]}, parents)
            is_cycle = is_cycle or cycle
            options, inner = _without_null(shape)
            nullable = nullable or inner
        unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
        common: dict[str, Any] = {
            "name": name,
            "title": _title(name, own_title, has_unit=bool(unit)),
            "description": str(shape.get("description", "")),
            "required": required,
            "nullable": nullable,
            "default": default,
            "aliases": tuple(shape.get(ALIASES, ())),
            "unit": str(shape.get("unit", unit)),
            "hints": tuple(hints(shape)),
            "placeholder": _example(shape),
            "is_secretive": self._has_secrets(shape, frozenset()),
        }
        if is_cycle or len(parents) > DEPTH_MAX or (nullable and not required and default is MISSING):
            return Field(**common | {"kind": Kind.JSON})
        special = (
            self._union(options, shape, parents, common) if len(options) > 1 else self._simple(shape, parents, common)
        )
        return Field(**common | special)

    def _resolved(self, shape: Shape, parents: tuple[str, ...]) -> tuple[Shape, tuple[str, ...], bool]:
        """Resolve references; the last value is True if the shape is a part of itself."""
        for _ in range(DEPTH_MAX):
            if "$ref" not in shape and len(shape.get("allOf", ())) == 1:
                shape = {**shape["allOf"][0], **{key: value for key, value in shape.items() if key != "allOf"}}
            if "$ref" not in shape:
                break
            target = shape["$ref"].rsplit("/", 1)[-1]
            if target in parents:
                return shape, parents, True
            parents = (*parents, target)
            own = {key: value for key, value in shape.items() if key != "$ref"}
            shape = {**self._definitions.get(target, {}), **own}
        return shape, parents, False

    def _simple(self, shape: Shape, parents: tuple[str, ...], common: dict[str, Any]) -> dict[str, Any]:
        """Return the kind of a field and the attributes that only this kind has."""
        if "const" in shape and not common["nullable"]:
            return {"kind": Kind.CONSTANT, "constant": shape["const"]}
        if "const" in shape or "enum" in shape:
            return _choice(shape.get("enum") or [shape["const"]], common)
        makers: dict[Any, Callable[[], dict[str, Any]]] = {
            "boolean": lambda: _boolean(common),
            "integer": lambda: {"kind": Kind.INTEGER},
            "number": lambda: {"kind": Kind.NUMBER},
            "string": lambda: _text(shape),
            "array": lambda: self._list(shape, parents),
            "object": lambda: self._group(shape, parents),
        }
        maker = makers.get(str(shape.get("type")))
        return maker() if maker else {"kind": Kind.JSON}

    def _group(self, shape: Shape, parents: tuple[str, ...]) -> dict[str, Any]:
        properties, needed = shape.get("properties"), shape.get("required", ())
        if properties is None or not all(name.isidentifier() for name in properties):
            return {"kind": Kind.JSON}
        fields = [
            self.field(name, inner, required=name in needed, parents=parents) for name, inner in properties.items()
        ]
        return {"kind": Kind.GROUP, "fields": tuple(fields), "is_open": bool(shape.get("additionalProperties", False))}

    def _list(self, shape: Shape, parents: tuple[str, ...]) -> dict[str, Any]:
        items = shape.get("items")
        if not isinstance(items, dict) or "prefixItems" in shape:
            return {"kind": Kind.JSON}
        item = self.field("", items, required=True, parents=parents)
        if item.kind in (Kind.LIST, Kind.JSON, Kind.CONSTANT):
            return {"kind": Kind.JSON}
        if item.kind == Kind.TEXT and not item.nullable:
            item = replace(item, default="")  # a present item without text is an empty text
        return {"kind": Kind.LIST, "item": item}

    def _union(self, options: list[Shape], shape: Shape, parents: tuple[str, ...], common: Shape) -> dict[str, Any]:
        types = {option.get("type") for option in options}
        if types == {"integer", "number"} and not any("enum" in option for option in options):
            return {"kind": Kind.NUMBER, "hints": tuple(hint for option in options for hint in hints(option))}
        resolved = [self._resolved(option, ())[0] for option in options]
        if all("const" in option or "enum" in option for option in resolved):
            return _choice([v for option in resolved for v in option.get("enum") or [option["const"]]], common)
        if len(options) > OPTIONS_MAX:
            return {"kind": Kind.JSON}
        tags: dict[str, list[str]] = {}
        for tag, ref in shape.get("discriminator", {}).get("mapping", {}).items():
            tags.setdefault(ref, []).append(tag)
        return {
            "kind": Kind.VARIANT,
            "options": tuple(self._option(option, tags.get(option.get("$ref", ""), []), parents) for option in options),
        }

    def _option(self, shape: Shape, tags: list[str], parents: tuple[str, ...]) -> Field:
        resolved = self._resolved(shape, ())[0]
        model = shape.get("$ref", "").rsplit("/", 1)[-1]
        kind = str(resolved.get("type", "JSON"))
        title = str(resolved.get("title") or model or {"string": "text", "array": "list"}.get(kind, kind))
        described = {"title": title, **shape}
        if kind == "string" and "const" not in resolved and "enum" not in resolved:
            described["default"] = ""
        names = (*tags, title, model, _TAGS.get(kind, ""))
        option = self.field("", described, required=True, parents=parents)
        return replace(option, title=title, tags=tuple(dict.fromkeys(filter(None, names))))

    def _has_secrets(self, shape: Any, visited: frozenset[str]) -> bool:
        if isinstance(shape, list):
            return any(self._has_secrets(inner, visited) for inner in shape)
        if not isinstance(shape, dict):
            return False
        if shape.get("writeOnly") is True:
            return True
        ref = str(shape.get("$ref", "")).rsplit("/", 1)[-1]
        if ref and ref not in visited and self._has_secrets(self._definitions.get(ref, {}), visited | {ref}):
            return True
        return any(self._has_secrets(inner, visited) for key, inner in shape.items() if key != "default")


def hints(shape: Shape) -> Iterator[str]:
    """Yield the bounds in a few words: `1 to 10,000`, `above 0`, `at most 40 characters`."""
    low, high = shape.get("minimum"), shape.get("maximum")
    above, under = shape.get("exclusiveMinimum"), shape.get("exclusiveMaximum")
    if low is not None and high is not None:
        yield f"{_number(low)} to {_number(high)}"
        low = high = None
    for bound, word in ((low, "at least"), (above, "above"), (high, "at most"), (under, "below")):
        if bound is not None:
            yield f"{word} {_number(bound)}"
    for key, text in _LENGTHS.items():
        if key in shape:
            hint = text.format(shape[key])
            yield hint.removesuffix("s") if shape[key] == 1 else hint
    if shape.get("uniqueItems"):
        yield "no duplicates"
    if shape.get("format") in _FORMATS:
        yield _FORMATS[shape["format"]][0]


def _text(shape: Shape) -> dict[str, Any]:
    if shape.get("writeOnly") and shape.get("format") == "password":
        return {"kind": Kind.SECRET}
    text_format = str(shape.get("format", ""))
    longest = shape.get("maxLength")
    long = shape.get("multiline") is True or (isinstance(longest, int) and longest > LONG_CHARS)
    return {
        "kind": Kind.TEXT,
        "format": text_format,
        "is_long": long or (isinstance(shape.get("default"), str) and "\n" in shape["default"]),
    }


def _boolean(common: dict[str, Any]) -> dict[str, Any]:
    """Return a switch; without a default, a choice that the user must make."""
    is_open = common["nullable"] or common["default"] is MISSING
    return _choice([True, False], common) if is_open else {"kind": Kind.SWITCH}


def _choice(values: list[Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return a choice. Texts are their own keys, unless that is ambiguous."""
    offered: list[Any] = []
    for value in values:
        if value is not None and not any(same(value, other) for other in offered):
            offered.append(value)
    plain = all(isinstance(value, str) and value.isprintable() and value.strip() == value != "" for value in offered)
    choices = tuple(Choice(value if plain else json.dumps(value), value) for value in offered)
    return {"kind": Kind.CHOICE, "choices": choices, "nullable": common["nullable"] or None in values, "hints": ()}


def _without_null(shape: Shape) -> tuple[list[Shape], bool]:
    """Return the alternatives of a union without null (the shape itself if it is none), and whether null is one."""
    options = shape.get("anyOf") or shape.get("oneOf")
    if not options:
        return [shape], False
    options_left = [option for option in options if option.get("type") != "null"]
    return options_left or [shape], len(options_left) < len(options)


def _rest(shape: Shape) -> Shape:
    return {key: value for key, value in shape.items() if key not in ("anyOf", "oneOf", "title")}


def _title(name: str, declared: str, *, has_unit: bool) -> str:
    """Return the author's title, or one derived from the name without its unit, which is shown beside the input."""
    if declared and declared != name.title().replace("_", " ").strip():
        return declared
    base = name.rpartition("_")[0] if has_unit else name
    return base.replace("_", " ").strip().capitalize() or name


def _example(shape: Shape) -> str:
    for example in shape.get("examples") or ():
        return example if isinstance(example, str) else json.dumps(example)
    return _FORMATS.get(str(shape.get("format")), ("", ""))[1]


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
