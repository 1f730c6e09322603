"""Encode a configuration as the data that a browser would send for a form that shows it. Pure.

A value that its field cannot show (an old configuration, half of a surrogate pair, a list of a thousand items) is
encoded as JSON at its place. Secrets are never included.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.forms.fields import (
    AS_JSON,
    CHOSEN,
    EMPTY,
    MISSING,
    ON,
    OPEN,
    ROW,
    Field,
    Kind,
    below,
    leaves,
    number,
    option_name,
    same,
)
from experiments.validation import MASK

Data = dict[str, list[str]]
"""Name of an input → the values that the browser sends for it."""

INPUTS_MAX = 600
"""Maximum number of inputs of a form: Django accepts 1000. A configuration that needs more is shown as JSON."""
LIST_INPUTS_MAX = 250


def encode(root: Field, configuration: Any, name: str) -> Data:
    """Encode a form whose names begin with `name`. Values that the configuration lacks get their default.

    `configuration`: its secrets are already masked, since parts may be shown as JSON.
    """
    data: Data = {}
    _encode(root, configuration, name, data)
    if sum(map(len, data.values())) > INPUTS_MAX:
        return {name + AS_JSON: [as_json(configuration)]}
    return data


def as_json(value: Any) -> str:
    """Return indented JSON; empty text for no value."""
    if value is MISSING:
        return ""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if _is_text(text) else json.dumps(value, indent=2)


def fits(field: Field, value: Any) -> bool:
    """Return whether the field, without those below it, shows the value so that it is decoded as the same value."""
    if value is None and field.kind != Kind.JSON:
        return field.nullable
    check = _FITTING.get(field.kind)
    return check is None or check(field, value)


def option_of(field: Field, value: Any) -> int | None:
    """Return the index of the first option that shows the whole value, or else of the option that the value names."""
    for check in (_fits_deep, _is_tagged):
        for index, option in enumerate(field.options):
            if check(option, value):
                return index
    return None


def _fits_deep(field: Field, value: Any) -> bool:
    if isinstance(value, str) and field.kind in (Kind.INTEGER, Kind.NUMBER):
        return False
    if not fits(field, value):
        return False
    if value is None:
        return True
    if field.kind == Kind.GROUP:
        inner = all(_fits_deep(below_it, value[below_it.name]) for below_it in field.fields if below_it.name in value)
        return inner and all(below_it.name in value for below_it in field.fields if below_it.required)
    if field.kind == Kind.LIST and field.item:
        return all(_fits_deep(field.item, item) for item in value)
    return True


def _is_tagged(option: Field, value: Any) -> bool:
    """Return whether the constants in the value name this option, although the value does not fit it."""
    if option.kind != Kind.GROUP or not isinstance(value, dict) or not fits(option, value):
        return False
    constants = [inner for inner in option.fields if inner.kind == Kind.CONSTANT]
    return bool(constants) and all(
        inner.name in value and same(inner.constant, value[inner.name]) for inner in constants
    )


def _encode(field: Field, value: Any, name: str, data: Data) -> None:
    if value is MISSING:
        value = field.default
    if field.kind == Kind.JSON or (value is not MISSING and not fits(field, value) and field.kind != Kind.CONSTANT):
        data[name + AS_JSON] = [as_json(value)]
    elif field.kind == Kind.GROUP:
        _encode_group(field, value, name, data)
    elif field.kind == Kind.LIST:
        _encode_list(field, value, name, data)
    elif field.kind == Kind.VARIANT:
        _encode_variant(field, value, name, data)
    elif field.kind == Kind.TEXT:
        _encode_text(field, value, name, data)
    elif field.kind != Kind.CONSTANT:
        data[name] = _leaf(field, value)


def _leaf(field: Field, value: Any) -> list[str]:
    if field.kind == Kind.SWITCH:
        return ["", "on"] if value is True else [""]
    if field.kind == Kind.SECRET or value is MISSING or value is None:
        return [""]
    if field.kind == Kind.CHOICE:
        choice = field.choice_of(value)
        return [choice.key if choice else ""]
    return [value if isinstance(value, str) else repr(value)]


def _encode_text(field: Field, value: Any, name: str, data: Data) -> None:
    data[name] = [value if isinstance(value, str) else ""]
    if value == "" and (field.nullable or field.default is MISSING):
        data[name + EMPTY] = ["on"]


def _encode_group(field: Field, value: Any, name: str, data: Data) -> None:
    is_there = isinstance(value, dict)
    if is_there or not field.has_toggle:
        data[name + ON] = ["on"]
    values: Mapping[str, Any] = value if is_there else {}
    for inner in field.fields:
        _encode(inner, values.get(inner.name, MISSING), below(name, inner.name), data)
    if field.is_open:
        more = {key: item for key, item in values.items() if not field.get(key)}
        data[name + OPEN] = [as_json(more) if more else ""]


def _encode_list(field: Field, value: Any, name: str, data: Data) -> None:
    if isinstance(value, list) or not field.has_toggle:
        data[name + ON] = ["on"]
    items = value if isinstance(value, list) else []
    data[name + ROW] = ["", *map(str, range(len(items)))]
    for index, item in enumerate(items):
        _encode(_item(field), item, below(name, str(index)), data)


def _encode_variant(field: Field, value: Any, name: str, data: Data) -> None:
    chosen = None if value is MISSING or value is None else option_of(field, value)
    data[name + CHOSEN] = ["" if chosen is None else str(chosen)]
    for index, option in enumerate(field.options):
        _encode(option, value if index == chosen else MISSING, option_name(name, index), data)


def _item(field: Field) -> Field:
    assert field.item is not None  # noqa: S101  # every list has one; for the type checker
    return field.item


def inputs(field: Field | None) -> int:
    """Return the approximate number of inputs that show the field."""
    return sum(1 for leaf in leaves(field) if leaf.kind not in (Kind.GROUP, Kind.CONSTANT)) + 1 if field else 1


def _is_number(field: Field, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) if field.kind == Kind.INTEGER else math.isfinite(value)


def _is_typed(text: str) -> bool:
    """Return whether this is text typed into a number field that is decoded as the same text."""
    return text != "" and text.strip() == text and _is_text(text) and "\n" not in text and isinstance(number(text), str)


def _is_text(text: str) -> bool:
    """Return whether browsers send the text back unchanged; they send only one kind of line end."""
    if text.startswith("\n"):
        return False
    return all(
        character in "\n\t" or (character >= " " and not "\ud800" <= character <= "\udfff") for character in text
    )


def _fits_text(_field: Field, value: Any) -> bool:
    return isinstance(value, str) and _is_text(value)


def _fits_number(field: Field, value: Any) -> bool:
    return _is_number(field, value) or (isinstance(value, str) and _is_typed(value))


def _fits_group(field: Field, value: Any) -> bool:
    return isinstance(value, dict) and (field.is_open or all(field.get(key) for key in value))


def _fits_list(field: Field, value: Any) -> bool:
    return isinstance(value, list) and len(value) * inputs(field.item) <= LIST_INPUTS_MAX


_FITTING: dict[Kind, Callable[[Field, Any], bool]] = {
    Kind.TEXT: _fits_text,
    Kind.INTEGER: _fits_number,
    Kind.NUMBER: _fits_number,
    Kind.SWITCH: lambda _, value: isinstance(value, bool),
    Kind.CHOICE: lambda field, value: field.choice_of(value) is not None,
    Kind.CONSTANT: lambda field, value: same(field.constant, value),
    Kind.GROUP: _fits_group,
    Kind.LIST: _fits_list,
    Kind.VARIANT: lambda field, value: option_of(field, value) is not None,
}
"""Kind → check of a value. A secret shows no value, and JSON any value, so both have no check."""


def concealed(field: Field, masked: Any, *, is_trusted: bool) -> Any:
    """Mask the secrets of all fields, also if a value does not fit its field.

    `masked` has its secrets masked already. Unless this `is_trusted` (the configuration is valid), all texts of a JSON
    field that may contain secrets are masked.
    """
    if not field.is_secretive or masked is None or masked is MISSING:
        return masked
    if field.kind == Kind.GROUP and isinstance(masked, dict):
        inner = {key: (field.get(key), value) for key, value in masked.items()}
        return {
            key: concealed(inner_field, value, is_trusted=is_trusted) if inner_field else _all_masked(value)
            for key, (inner_field, value) in inner.items()
        }
    if field.kind == Kind.LIST and isinstance(masked, list):
        return [concealed(_item(field), item, is_trusted=is_trusted) for item in masked]
    if field.kind == Kind.VARIANT and (index := option_of(field, masked)) is not None:
        return concealed(field.options[index], masked, is_trusted=is_trusted)
    return masked if field.kind in (Kind.JSON, Kind.VARIANT) and is_trusted else _all_masked(masked)


def declared(field: Field, masked: Any, stored: Any) -> Any:
    """Return a configuration that was masked by names, with the stored values of declared, non-secret fields."""
    if not field.is_secretive:
        return stored
    if field.kind == Kind.GROUP and isinstance(masked, dict) and isinstance(stored, dict):
        fields = {key: field.get(key) for key in masked}
        return {
            key: declared(inner, masked[key], stored[key]) if inner and key in stored else masked[key]
            for key, inner in fields.items()
        }
    return masked


def may_be_masked(field: Field, path: Sequence[str]) -> bool:
    """Return whether `concealed` may mask the value at this path."""
    for part in path:
        if not field.is_secretive or field.kind != Kind.GROUP:
            return field.is_secretive
        inner = field.get(part)
        if inner is None:
            return True
        field = inner
    return field.is_secretive


def _all_masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _all_masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_all_masked(item) for item in value]
    return MASK if isinstance(value, str) else value
