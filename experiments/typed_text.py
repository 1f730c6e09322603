"""Parse text typed for a field by the field's type: `1.10` is text for a `str`, a number for a `float`.

    type of the field                 value of `KEY=VALUE`
    str, secrets, paths, URLs …       the text as it is, also `007`, `1.10`, `null`; double quotes are removed
    int, float, bool, dates           the JSON value; other text is left to pydantic
    Decimal                           the digits as they are
    X | None                          `null` is None
    unions                            a JSON value if one of the types accepts it, or else the text
    lists, tuples, mappings, models   JSON, with each element parsed by its own type
    Any, a type of the author's own   JSON, or else the text

Pure. Text that does not fit is returned unchanged, so that the validator reports the error.
"""

from __future__ import annotations

import enum
import ipaddress
import json
import os
import re
import types
import typing
import uuid
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pydantic import AliasChoices, AliasPath, AnyUrl, BaseModel, SecretBytes, SecretStr

_TEXTS = (
    str,
    bytes,
    os.PathLike,
    SecretStr,
    SecretBytes,
    AnyUrl,
    uuid.UUID,
    re.Pattern,
    zoneinfo.ZoneInfo,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
)
_EXACT = (Decimal, Fraction, complex)
_MOMENTS = (date, time, timedelta)
_NO_JSON = object()


class Number(str):
    """Number of a JSON or TOML text, with its digits as typed."""

    __slots__ = ()

    @property
    def value(self) -> Any:
        try:
            return float(self) if set(self) & set(".eE") else int(self)
        except ValueError:  # more digits than Python parses
            return str(self)


def typed(text: str, config: type[BaseModel], keys: Sequence[str]) -> Any:
    """Parse `text` for the field at the dotted path `keys` of a configuration."""
    return _of_text(text, _members_at(config, keys))


def typed_numbers(value: Any, config: type[BaseModel]) -> Any:
    """Convert a whole configuration parsed with `Number`: exact digits stay text where the type needs them."""
    return _of_json(value, [config], is_typed=False)


def plain(value: Any) -> Any:
    """Return `value` with each `Number` as an int or a float."""
    if isinstance(value, Number):
        return value.value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def parsed(text: str) -> Any:
    """Parse JSON with `Number` for its numbers. Raises ValueError."""
    try:
        return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def _of_text(text: str, members: list[Any]) -> Any:
    try:
        value = parsed(text)
    except ValueError:
        return text
    if isinstance(value, str) and not isinstance(value, Number):
        return value  # in double quotes
    if text in _choices(members):
        return text
    if any(_accepts(member, value) for member in members):
        return _of_json(value, members)
    return text if any(map(_is_text, members)) else plain(value)


def _of_json(value: Any, members: list[Any], *, is_typed: bool = True) -> Any:
    """Convert an element of a JSON value by its own type. `is_typed`: a number may be text of the same digits."""
    if isinstance(value, Number):
        accepting = [member for member in members if _accepts(member, value)]
        if any(_is(member, _EXACT) for member in accepting) and not any(
            _is(member, (int, float)) for member in accepting
        ):
            return str(value)
        return str(value) if is_typed and not accepting and any(map(_is_text, members)) else value.value
    if isinstance(value, list):
        return [_of_json(item, _items(members, index), is_typed=is_typed) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _of_json(item, _fields(members, key), is_typed=is_typed) for key, item in value.items()}
    return value


def _accepts(member: Any, value: Any) -> bool:
    """Return whether a type of a field accepts a JSON value that is not text."""
    if member is Any or member is object:
        return True
    if typing.get_origin(member) is typing.Literal:
        return any(_is_choice(choice, value) for choice in typing.get_args(member))
    if _is(member, (enum.Enum,)):
        return any(_is_choice(choice.value, value) for choice in member)
    if isinstance(value, list | dict):
        return not _is(member, (types.NoneType, *_TEXTS, int, float, *_EXACT, *_MOMENTS))
    if value is None or isinstance(value, bool):
        return member is type(value)
    return _accepts_number(member, value)


def _is_choice(choice: Any, value: Any) -> bool:
    return type(choice) is type(plain(value)) and bool(choice == plain(value))


def _accepts_number(member: Any, value: Number) -> bool:
    if member is bool:
        return value in ("0", "1")
    if member is int:
        return isinstance(value.value, int)
    return member is float or _is(member, (*_EXACT, *_MOMENTS))


def _choices(members: list[Any]) -> set[str]:
    """Return the texts of literals and enumerations."""
    literals = [typing.get_args(member) for member in members if typing.get_origin(member) is typing.Literal]
    enums = [[choice.value for choice in member] for member in members if _is(member, (enum.Enum,))]
    return {choice for choices in (*literals, *enums) for choice in choices if isinstance(choice, str)}


def _is_text(member: Any) -> bool:
    return _is(member, _TEXTS) and not _is(member, (enum.Enum,))


def _is(member: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(member, type) and issubclass(member, kinds)


def _members_at(config: type[BaseModel], keys: Sequence[str]) -> list[Any]:
    members: list[Any] = [config]
    for key in keys:
        members = _fields(members, key)
    return members


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the types of an annotation's union, without aliases and constraints."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for inner in typing.get_args(annotation):
            yield from _members(inner)
    elif hasattr(annotation, "__supertype__"):
        yield from _members(annotation.__supertype__)
    elif hasattr(annotation, "__value__"):
        yield from _members(annotation.__value__)
    else:
        yield types.NoneType if annotation is None else annotation


def _fields(members: list[Any], key: str) -> list[Any]:
    """Return the types of the value at `key` of an object; Any if none is declared."""
    types_at_key = [inner for member in members for annotation in _field(member, key) for inner in _members(annotation)]
    return types_at_key or [Any]


def _field(member: Any, key: str) -> Iterator[Any]:
    origin, arguments = typing.get_origin(member) or member, typing.get_args(member)
    if _is(origin, (BaseModel,)):
        yield from (info.annotation for name, info in origin.model_fields.items() if key in _names(name, info))
    elif is_dataclass(origin) and isinstance(origin, type):
        hints = typing.get_type_hints(origin, include_extras=True)
        yield from (hints[field.name] for field in dataclass_fields(origin) if field.name == key)
    elif hasattr(origin, "__total__"):  # a TypedDict, also of typing_extensions
        yield from (hint for name, hint in typing.get_type_hints(origin).items() if name == key)
    elif _is(origin, (Mapping,)) and len(arguments) == 2:
        yield arguments[1]


def _names(name: str, info: Any) -> set[str]:
    """Return the name and the aliases of a field."""
    aliases = [info.alias, info.validation_alias]
    choices = [choice for alias in aliases if isinstance(alias, AliasChoices) for choice in alias.choices]
    texts = [alias.path[0] if isinstance(alias, AliasPath) else alias for alias in (*aliases, *choices)]
    return {name, *(text for text in texts if isinstance(text, str))}


def _items(members: list[Any], index: int) -> list[Any]:
    """Return the types of the element at `index` of an array; Any if none is declared."""
    types_at_index = [
        inner for member in members for annotation in _item(member, index) for inner in _members(annotation)
    ]
    return types_at_index or [Any]


def _item(member: Any, index: int) -> Iterator[Any]:
    origin, arguments = typing.get_origin(member) or member, typing.get_args(member)
    if _is(origin, (tuple,)) and hasattr(origin, "_fields"):
        yield from list(typing.get_type_hints(origin).values())[index : index + 1]
    elif _is(origin, (tuple,)) and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        yield from arguments[index : index + 1]
    elif _is(origin, (Sequence, Set)) and arguments and not _is(origin, (str, bytes)):
        yield arguments[0]
