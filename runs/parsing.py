"""Parsing of what people type: `-c key=value`, durations, sizes, configuration files.

Pure, except for reading a file or standard input, and finding an experiment.

Each function raises `argparse.ArgumentTypeError`, with what is wrong and an example of what is valid.
"""

from __future__ import annotations

import sys
import tomllib
from argparse import ArgumentTypeError
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from experiments import typed_text
from experiments.exceptions import ExperimentsError
from experiments.models import Instance
from experiments.quantities import seconds, size_bytes
from experiments.registry import registry
from experiments.retry import RETRIED_KINDS
from experiments.typed_text import Number
from runs import formatting
from runs.lines import reading

__all__ = [
    "assignment",
    "config_file",
    "config_of",
    "configuration",
    "count",
    "level",
    "place",
    "retry",
    "seconds",
    "setting",
    "size_bytes",
    "whole_seconds",
]


def whole_seconds(text: str) -> int:
    """As `seconds`, but a whole number of them, and `0` is one too."""
    if text.strip() in ("0", "0s"):
        return 0
    value = seconds(text)
    if value != int(value):
        raise ArgumentTypeError(f"Invalid duration {text[:60]!r}. Use a whole number of seconds: 90, 10m or 2h.")
    return int(value)


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
        raise ArgumentTypeError(
            f"Invalid line number {text[:60]!r}. Use 500, or 2.500 for line 500 of attempt 2."
        ) from error


def retry(text: str) -> tuple[str, int]:
    """`error=3` as ("error", 3)."""
    kind, _, times = text.partition("=")
    if kind.strip() not in RETRIED_KINDS or not times.strip().isdecimal():
        raise ArgumentTypeError(f"Invalid retry {text[:60]!r}. Use KIND=TIMES, with one of {', '.join(RETRIED_KINDS)}.")
    return kind.strip(), int(times)


def assignment(text: str) -> tuple[list[str], str]:
    """`a.b=3` as (["a", "b"], "3"). The type of the field decides what the text means."""
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ArgumentTypeError(f"Invalid setting {text[:60]!r}. Use KEY=VALUE, e.g. epochs=20 or optimizer.rate=0.1.")
    return keys, value


def setting(text: str) -> tuple[list[str], str]:
    """`assignment`, whose value may come from elsewhere, so that lists of processes do not show it: `key=@FILE` reads
    a file, `key=-` standard input, or asks on a terminal. One newline at the end is not part of the value.
    """
    keys, value = assignment(text)
    name = ".".join(keys)
    if value == "-":
        return keys, _from_stdin(name)
    if not value.startswith("@"):
        return keys, value
    try:
        content = Path(value[1:]).read_bytes().decode()
    except (OSError, ValueError) as error:  # a name with a NUL character, a file that is not UTF-8
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArgumentTypeError(
            f"{name}: cannot read the file {value[1:61]!r}: {reason}. Text that begins with @ needs double quotes:"
            f" '{name}=\"{value[:20]}\"'."
        ) from error
    return keys, content.removesuffix("\n")


def _from_stdin(name: str) -> str:
    if sys.stdin is None or sys.stdin.closed:
        raise ArgumentTypeError(f"{name}=- reads standard input, which is closed.")
    if sys.stdin.isatty():
        return getpass(f"{name}: ")
    value = sys.stdin.read()
    if not value:
        raise ArgumentTypeError(f"{name}=- reads standard input, which is empty. It can be read once.")
    return value.removesuffix("\n")


def config_file(text: str) -> dict[str, Any]:
    """Read the object in a .json or .toml file; its numbers keep their digits."""
    path = Path(text)
    try:
        content = path.read_bytes()
        is_toml = path.suffix.lower() == ".toml"
        values = tomllib.loads(content.decode(), parse_float=Number) if is_toml else typed_text.parsed(content.decode())
    except OSError as error:
        raise ArgumentTypeError(f"Cannot read {text}: {error.strerror}") from error
    except ValueError as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        raise ArgumentTypeError(f"{text} is not valid {kind}: {error}") from error
    if not isinstance(values, dict):
        raise ArgumentTypeError(f'{text} must contain an object, e.g. {{"epochs": 20}}')
    return values


def config_of(target: str) -> type[BaseModel]:
    """Configuration model of an experiment or instance; Unknown if there is none of that name."""
    instance = Instance.objects.filter(name=target).first()
    try:
        return registry().get(instance.experiment if instance else target).Config
    except ExperimentsError:  # the launch reports it
        return Unknown


class Unknown(BaseModel):
    """Configuration without known fields: values are JSON, or else text."""


def configuration(
    base: dict[str, Any] | None, assignments: Iterable[tuple[list[str], str]], config: type[BaseModel] = Unknown
) -> dict[str, Any]:
    """Apply the assignments to `base`, in their order; each value is read by the type of its field in `config`.

    A dotted key creates the mappings that it needs.
    """
    made: dict[str, Any] = typed_text.typed_numbers(base or {}, config)
    for keys, text in assignments:
        value = typed_text.typed(text, config, keys)
        level = made
        for key in keys[:-1]:
            below = level.get(key)
            level[key] = dict(below) if isinstance(below, dict) else {}
            level = level[key]
        level[keys[-1]] = value
    return made
