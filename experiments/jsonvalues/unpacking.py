"""Unpack: restore the Python values that `pack` has packed."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any

from experiments.jsonvalues.packing import TAG


def unpack(value: Any) -> Any:
    """Return the value that `pack` packed. A value that was never packed is returned unchanged."""
    try:
        return _unpack(value)
    except RecursionError:
        return value


def document(value: Any) -> Any:
    """Return a packed value for a JSON document: of the floats only NaN and infinities keep their tag."""
    try:
        return _document(value)
    except RecursionError:
        return value


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, content), *_ = value.items()
        if TAG.fullmatch(name):
            return _untagged(name, content)
    return {name: _unpack(item) for name, item in value.items()}


def _document(value: Any) -> Any:
    if isinstance(value, list):
        return [_document(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$float"}:
        number = _unpack(value)
        return number if isinstance(number, float) and math.isfinite(number) else value
    return {name: _document(item) for name, item in value.items()}


def _untagged(name: str, content: Any) -> Any:
    if name.startswith("$$"):
        return {name[1:]: _unpack(content)}
    try:
        return _READERS[name](content)
    except (ValueError, TypeError):  # not packed by `pack`
        return {name: _unpack(content)}


_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$text": lambda text: json.loads(f'"{text}"'),
    "$tuple": lambda items: tuple(map(_unpack, items)),
    "$set": lambda items: set(map(_unpack, items)),
    "$frozenset": lambda items: frozenset(map(_unpack, items)),
    "$bytes": base64.b64decode,
    "$map": lambda pairs: {_unpack(key): _unpack(value) for key, value in pairs},
}
