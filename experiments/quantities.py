"""Durations and sizes as people type and read them. Pure. What cannot be read raises `argparse.ArgumentTypeError`,
whose text says what would be right, so that commands and forms use the same words."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_DURATION_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_SIZE_UNITS = ((1024**4, "T"), (1024**3, "G"), (1024**2, "M"), (1024, "k"))


def seconds(text: str) -> float:
    """`90`, `90s`, `10m`, `1.5h`, `2d` in seconds."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2].lower() not in _SECONDS or float(found[1]) <= 0:
        raise ArgumentTypeError(f"{text!r} is no duration; write seconds, as 90, or 10m, 1.5h, 2d")
    return float(found[1]) * _SECONDS[found[2].lower()]


def size_bytes(text: str) -> int:
    """`1048576`, `512M`, `2GiB` in bytes; the units are powers of 1024."""
    found = _QUANTITY.fullmatch(text.strip())
    unit = found[2].lower().removesuffix("ib").removesuffix("b") if found else ""
    if found is None or unit not in _BYTES or float(found[1]) <= 0:
        raise ArgumentTypeError(f"{text!r} is no size; write bytes, as 1048576, or 512M, 2G")
    return int(float(found[1]) * 1024 ** _BYTES[unit])


def seconds_text(value: float) -> str:
    """As `seconds` reads it: `1h`, `90s`, `0.5s`."""
    return _with_unit(value, _DURATION_UNITS, "s")


def size_text(value: float) -> str:
    """As `size_bytes` reads it: `512M`, `1000`."""
    return _with_unit(value, _SIZE_UNITS, "")


def _with_unit(value: float, units: tuple[tuple[int, str], ...], smallest: str) -> str:
    for size, unit in units:
        if value and value % size == 0:
            return f"{int(value // size)}{unit}"
    return f"{int(value) if value == int(value) else value}{smallest}"
