"""What people type, read: `-c key=value`, durations, sizes, configuration files. Pure but for reading the file.

Each function raises `argparse.ArgumentTypeError`, whose text says what is wrong and what would be right.
"""

from __future__ import annotations

import json
import tomllib
from argparse import ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.quantities import seconds, size_bytes
from experiments.retry import RETRIED_KINDS
from runs import formatting
from runs.lines import reading

__all__ = [
    "assignment",
    "config_file",
    "configuration",
    "count",
    "level",
    "place",
    "retry",
    "seconds",
    "size_bytes",
    "whole_seconds",
]


def whole_seconds(text: str) -> int:
    """As `seconds`, but a whole number of them, and `0` is one too."""
    if text.strip() in ("0", "0s"):
        return 0
    found = seconds(text)
    if found != int(found):
        raise ArgumentTypeError(f"{text[:60]!r} is no whole number of seconds; write 90, or 10m, 1.5h, 2d")
    return int(found)


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.strip().isascii() and text.strip().isdecimal() and 1 <= int(text) < 10**9):
        raise ArgumentTypeError(f"Invalid count {text[:60]!r}. Use a whole number from 1, e.g. 20.")
    return int(text)


def level(text: str) -> int:
    try:
        return formatting.level_of(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def place(text: str) -> reading.Place:
    try:
        return reading.place(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no line number; write 500, or with its attempt 2.500") from error


def retry(text: str) -> tuple[str, int]:
    """`error=3` as ("error", 3)."""
    kind, _, times = text.partition("=")
    if kind.strip() not in RETRIED_KINDS or not times.strip().isdecimal():
        raise ArgumentTypeError(f"{text!r} is no retry; write KIND=TIMES, the kinds are {', '.join(RETRIED_KINDS)}")
    return kind.strip(), int(times)


def assignment(text: str) -> tuple[list[str], Any]:
    """`a.b=3` as (["a", "b"], 3). The value is read as JSON, and is plain text where it is none."""
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ArgumentTypeError(f"{text!r} is no setting; write key=value, as epochs=20 or optimizer.rate=0.1")
    try:
        return keys, json.loads(value, parse_constant=_no_constant)
    except ValueError:
        return keys, value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def config_file(text: str) -> dict[str, Any]:
    """The object in a .json or .toml file."""
    path = Path(text)
    try:
        content = path.read_bytes()
        found = tomllib.loads(content.decode()) if path.suffix.lower() == ".toml" else json.loads(content)
    except OSError as error:
        raise ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from error
    except ValueError as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        raise ArgumentTypeError(f"{text} is not {kind}: {error}") from error
    if not isinstance(found, dict):
        raise ArgumentTypeError(f'{text} must hold an object, as {{"epochs": 20}}')
    return found


def configuration(base: dict[str, Any] | None, assignments: Iterable[tuple[list[str], Any]]) -> dict[str, Any]:
    """`base` with the assignments laid over it, in their order; a dotted key makes the mappings it needs."""
    made: dict[str, Any] = dict(base or {})
    for keys, value in assignments:
        level = made
        for key in keys[:-1]:
            below = level.get(key)
            level[key] = dict(below) if isinstance(below, dict) else {}
            level = level[key]
        level[keys[-1]] = value
    return made
