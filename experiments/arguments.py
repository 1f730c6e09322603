"""Validate the arguments of a context's methods, the same in a run and in a test (`experiments.testing`). Pure.

A value that cannot be stored raises, with a message that names the call. Information for people only never raises.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sized
from typing import Any

from experiments.jsonvalues import clean

KEY_MAX_CHARS = 200
"""Longest name of a metric, longest key of a result: the width of the column."""
STEP_MAX = 2**63 - 1
PROGRESS_MESSAGE_MAX_CHARS = 500


def key(call: str, name: Any) -> str:
    """Return the key of a result or the name of a metric. Raises TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"{call}: a name must be text, not {type(name).__name__}")
    if len(name) > KEY_MAX_CHARS:
        raise ValueError(
            f"{call}: a name may have at most {KEY_MAX_CHARS} characters, not {len(name):,} ({name[:40]!r}…)"
        )
    if "\0" in name or clean(name) != name:
        raise ValueError(f"{call}: the name {name[:40]!r} has characters that no database keeps")
    return "".join(name)  # a plain str, whatever subclass it was


def number(call: str, value: Any) -> float:
    """Return the value of a metric. Raises TypeError if it is not a number, ValueError if a float cannot hold it."""
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"{call}: a value must be a number, not {type(value).__name__}; use ctx.result for text")
    try:
        as_float = float(value)
    except OverflowError as error:
        raise ValueError(f"{call}: the value is beyond the range of a float; use ctx.result") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"{call}: {error}") from error
    if isinstance(value, int) and int(as_float) != value:
        raise ValueError(f"{call}: a float does not hold {value} exactly; use ctx.result")
    return as_float


def step(call: str, value: Any) -> int | None:
    """Return the step of a metric as an int; accepts whole floats. Raises TypeError, ValueError or OverflowError."""
    if value is None:
        return None
    try:
        whole = operator.index(value)
    except TypeError:
        whole = _whole(call, value)
    if not -STEP_MAX <= whole <= STEP_MAX:
        raise OverflowError(f"{call}: a step must be a whole number of at most 64 bits")
    return whole


def _whole(call: str, value: Any) -> int:
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"{call}: a step must be a whole number, not {type(value).__name__}")
    try:
        as_float = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{call}: a step must be a whole number, not {type(value).__name__}") from error
    if not as_float.is_integer():
        raise ValueError(f"{call}: a step must be a whole number, not {as_float!r}")
    return int(as_float)


def finite(value: Any) -> float | None:
    """Return a progress value as a float; None if it is NaN, infinite or not a number. Never raises."""
    try:
        as_float = float(value)
    except Exception:  # including errors from an object's own methods
        return None
    return as_float if math.isfinite(as_float) else None


def progress_message(message: str) -> str:
    """Shorten a message to the limit; a shortened one ends in `…`."""
    most = PROGRESS_MESSAGE_MAX_CHARS
    return message if len(message) <= most else f"{message[: most - 1]}…"


def size(items: Iterable[Any]) -> int | None:
    """Return `len(items)`, or None if it has no length or fails to compute it. Never raises."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except Exception:  # such as a DataLoader over a stream
        return None
