"""Durations and sizes as people type and read them. Pure.

Invalid text raises `argparse.ArgumentTypeError` with an example of valid text, for commands and forms alike.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_DURATION_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_SIZE_UNITS = ((1024**4, "T"), (1024**3, "G"), (1024**2, "M"), (1024, "k"))


def seconds(text: str) -> float:
    """Parse `90`, `90s`, `10m`, `1.5h` or `2d` to seconds."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2].lower() not in _SECONDS or float(match[1]) <= 0:
        raise ArgumentTypeError(f"Invalid duration {text[:60]!r}. Use 90, 10m or 2h.")
    return float(match[1]) * _SECONDS[match[2].lower()]


def size_bytes(text: str) -> int:
    """Parse `1048576`, `512M` or `2GiB` to bytes; the units are powers of 1024."""
    match = _QUANTITY.fullmatch(text.strip())
    unit = match[2].lower().removesuffix("ib").removesuffix("b") if match else ""
    if match is None or unit not in _BYTES or float(match[1]) <= 0:
        raise ArgumentTypeError(f"Invalid size {text[:60]!r}. Use 1048576, 512M or 2G.")
    return int(float(match[1]) * 1024 ** _BYTES[unit])


def seconds_text(value: float) -> str:
    """Format seconds as `seconds` parses them: `1h`, `90s`, `0.5s`."""
    return _with_unit(value, _DURATION_UNITS, "s")


def size_text(value: float) -> str:
    """Format bytes as `size_bytes` parses them: `512M`, `1000`."""
    return _with_unit(value, _SIZE_UNITS, "")


def _with_unit(value: float, units: tuple[tuple[int, str], ...], smallest: str) -> str:
    for size, unit in units:
        if value and value % size == 0:
            return f"{int(value // size)}{unit}"
    return f"{int(value) if value == int(value) else value}{smallest}"
