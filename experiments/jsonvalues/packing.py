"""Pack: Python values as plain JSON types. For the format see the package."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from enum import Enum
from typing import Any

import msgspec

from experiments.exceptions import UnstorableValue

DEPTH_MAX = 100
"""Default limit of nesting levels."""
INTEGER_DIGITS_MAX = 4300
"""Limit of digits that Python parses."""
_INTEGER_BITS_MAX = 14_280  # 4,299 digits: less than INTEGER_DIGITS_MAX for certain
_FLOAT_PLAIN_MAX = 1e16
_REPR_MAX_CHARS = 10_000
_PATH_STEPS_MAX = 12
TAG = re.compile(r"\$+(?:float|text|tuple|set|frozenset|bytes|map)")
_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    os.PathLike: os.fsdecode,
}
_KEY_NAMES = {True: "true", False: "false", None: "null"}


def pack(value: Any, *, max_bytes: int, max_depth: int = DEPTH_MAX, keep_types: bool = False) -> Any:
    """Return `value` as plain JSON types. `max_bytes` limits the work, and roughly the size.

    Raises UnstorableValue.
    """
    packer = _Packer(max_bytes=max_bytes, max_depth=max_depth, keep_types=keep_types)
    try:
        return packer.pack(value)
    except UnstorableValue as error:
        if error.path is None:
            raise UnstorableValue(error.reason, packer.path) from error
        raise
    except Exception as error:  # an object's own methods may raise anything
        raise UnstorableValue(f"{type(error).__name__}: {error}", packer.path) from error


def pack_leniently(value: Any, *, max_bytes: int, max_depth: int = DEPTH_MAX) -> Any:
    """Pack like `pack`, but replace values that cannot be stored by their `repr`. Never raises."""
    return _LenientPacker(max_bytes=max_bytes, max_depth=max_depth).pack(value)


def shown(value: Any) -> str:
    """Return `value` if it is text, else its `repr`, with limited length; valid UTF-8. Never raises."""
    try:
        return clean(value if isinstance(value, str) else repr(value)[:_REPR_MAX_CHARS])
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def clean(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot hold, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Packer:
    """State of one call of `pack`, with the current path for errors."""

    def __init__(self, *, max_bytes: int, max_depth: int, keep_types: bool = False) -> None:
        self._max_bytes, self._remaining, self._max_depth = max_bytes, max_bytes, max_depth
        self._keep_types = keep_types
        self._steps: list[Any] = []
        self._parents: list[int] = []
        self._depth = 0

    @property
    def path(self) -> str:
        """Path of the current value: `layers[3].weights`."""
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._steps]
        if len(steps) > _PATH_STEPS_MAX:
            steps = [*steps[: _PATH_STEPS_MAX // 2], "…", *steps[-_PATH_STEPS_MAX // 2 :]]
        return "".join(steps).removeprefix(".")

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value)
        self._spend(1)
        if kind is float:
            return _packed_float(value)
        if kind is int:
            return self._integer(value)
        if value is None or kind is bool:
            return value
        depth = self._depth
        self._enter(value)
        packed = self._compound(value)
        self._parents.pop()
        self._depth = depth
        return packed

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value)
        kind = type(value)
        if kind is list or not isinstance(value, list | tuple | set | frozenset | bytes | bytearray | memoryview):
            return self._items(value) if kind is list else self.pack(_converted(value))
        if isinstance(value, bytes | bytearray | memoryview):
            self._spend(len(value))
            text = base64.b64encode(value).decode()
            return {"$bytes": text} if self._keep_types else text
        self._deepen(1 if self._keep_types else 0)
        if isinstance(value, set | frozenset):
            name, items = ("$frozenset" if isinstance(value, frozenset) else "$set"), self._items(_in_order(value))
        else:
            name, items = ("$tuple" if isinstance(value, tuple) else ""), self._items(value)
        return {name: items} if self._keep_types and name else items

    def _items(self, values: Iterable[Any]) -> list[Any]:
        packed = []
        for index, value in enumerate(values):
            self._steps.append(index)
            packed.append(self.pack(value))
            self._steps.pop()
        return packed

    def _mapping(self, mapping: Mapping[Any, Any]) -> dict[str, Any]:
        if self._keep_types and not all(_is_plain_key(key) for key in mapping):
            self._deepen(2)
            return {"$map": [[self.pack(key), self._member(key, value)] for key, value in mapping.items()]}
        packed: dict[str, Any] = {}
        for key, value in mapping.items():
            name = self._key(key)
            if name in packed:
                raise UnstorableValue(f"two keys are {name!r} as text")
            packed[name] = self._member(name, value)
        return _escaped(packed)

    def _member(self, key: Any, value: Any) -> Any:
        self._steps.append(key if isinstance(key, str) else shown(key))
        packed = self.pack(value)
        self._steps.pop()
        return packed

    def _key(self, key: Any) -> str:
        """Return the key as text. Raises UnstorableValue if JSON has no such key."""
        if isinstance(key, Enum):
            key = key.value
        if isinstance(key, str):
            if not _is_plain_text(key):
                raise UnstorableValue(f"the key {shown(key)[:200]!r} has characters that no database keeps")
            self._spend(len(key) + 1)
            return str.__str__(key)
        if key is None or isinstance(key, bool):
            return _KEY_NAMES[key]
        key = _converted(key) if callable(getattr(key, "item", None)) else key
        if isinstance(key, int | float):
            return str(self._integer(key) if isinstance(key, int) else float(key))
        raise UnstorableValue(f"the key {shown(key)[:200]} ({_name(type(key))}) is not text")

    def _text(self, value: str) -> Any:
        self._spend(len(value) + 1)
        return value if _is_plain_text(value) else {"$text": json.dumps(value)[1:-1]}

    def _integer(self, value: int) -> int:
        if value.bit_length() > _INTEGER_BITS_MAX:
            raise UnstorableValue(f"an integer may have {INTEGER_DIGITS_MAX:,} digits at most")
        return value

    def _spend(self, size: int) -> None:
        self._remaining -= size
        if self._remaining < 0:
            raise UnstorableValue(f"it is larger than {self._max_bytes:,} bytes as JSON", "", is_too_large=True)

    def _enter(self, value: Any) -> None:
        """Descend one level. Raises if that is too deep, or a value contains itself."""
        if id(value) in self._parents:
            raise UnstorableValue("it contains itself")
        self._deepen(1)
        self._parents.append(id(value))

    def _deepen(self, levels: int) -> None:
        """Add levels of JSON; a tag counts as one."""
        self._depth += levels
        if self._depth > self._max_depth:
            raise UnstorableValue(f"it is nested more than {self._max_depth} levels deep")


class _LenientPacker(_Packer):
    """Packer that replaces values that cannot be stored by text, and continues."""

    def pack(self, value: Any) -> Any:
        if self._remaining <= 0:
            return "…"
        steps, parents, depth = len(self._steps), len(self._parents), self._depth
        try:
            return super().pack(value)
        except Exception as error:
            del self._steps[steps:], self._parents[parents:]
            self._depth = depth
            if self._remaining <= 0:
                return "…"
            is_whole = isinstance(value, Mapping | list | tuple | set)  # its repr may be very long
            reason = error.reason if isinstance(error, UnstorableValue) else type(error).__name__
            text = f"<{type(value).__name__}: {reason}>" if is_whole else shown(value)
            self._remaining -= len(text)
            return text

    def _mapping(self, mapping: Mapping[Any, Any]) -> dict[str, Any]:
        packed: dict[str, Any] = {}
        for key, value in mapping.items():
            name = self._free(self._key(key), packed)
            packed[name] = self._member(name, value)
        return _escaped(packed)

    def _key(self, key: Any) -> str:
        try:
            return super()._key(key)
        except Exception:
            return shown(key)

    def _free(self, name: str, used: Mapping[str, Any]) -> str:
        """Return `name`, or if it is used, the first unused of `name (2)`, `name (3)` …"""
        number, free = 1, name
        while free in used:
            number += 1
            free = f"{name} ({number})"
        return free

    def _text(self, value: str) -> Any:
        self._remaining -= len(value) + 1
        return clean(value)


def _escaped(mapping: dict[str, Any]) -> dict[str, Any]:
    """Escape a mapping that looks like a tag."""
    if len(mapping) == 1 and TAG.fullmatch(name := next(iter(mapping))):
        return {f"${name}": mapping[name]}
    return mapping


def _is_plain_key(key: Any) -> bool:
    return isinstance(key, str) and _is_plain_text(key)


def _is_plain_text(text: str) -> bool:
    """Return whether every database stores it: PostgreSQL refuses NUL, UTF-8 has no half of a surrogate pair."""
    if "\0" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _packed_float(value: float) -> Any:
    if (-_FLOAT_PLAIN_MAX < value < _FLOAT_PLAIN_MAX) and (value or str(value) == "0.0"):
        return value
    return {"$float": repr(value)}


def _in_order(values: Set[Any]) -> list[Any]:
    """Return the elements, sorted if they can be compared."""
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _converted(value: Any) -> Any:
    """Convert an object of a type that JSON lacks. Raises UnstorableValue if that is not possible."""
    if isinstance(value, Enum):
        return value.value
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):  # a subclass, such as numpy.float64
            return plain(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    if (from_array := _from_array(value)) is not None:
        return from_array
    return list(value) if isinstance(value, Sequence | Set) else msgspec.to_builtins(value, enc_hook=_without_form)


def _from_array(value: Any) -> Any:
    """Convert arrays and scalars as of NumPy, torch or pandas to lists and numbers; return None for anything else."""
    if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M") and hasattr(value, "astype"):
        value = value.astype(str)  # dates and durations: in nanoseconds they would be bare integers
    for method in ("tolist", "item"):
        convert: Callable[[], Any] | None = getattr(value, method, None)
        if not callable(convert):
            continue
        plain = convert()
        if type(plain) is not type(value):
            return plain
        if float(plain) == plain or plain != plain:  # noqa: PLR0124  # numpy.longdouble; NaN is unequal to itself
            return float(plain)
        raise UnstorableValue(f"{shown(value)} is more exact than a float")
    return None


def _without_form(value: Any) -> Any:
    raise UnstorableValue(f"{_name(type(value))} has no JSON form: {shown(value)[:200]}")


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
