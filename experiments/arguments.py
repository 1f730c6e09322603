"""Checks of what an experiment hands to its context, the same in a run and in a test (`experiments.testing`). Pure.

What cannot be kept raises, with a message that names the call. What is only information for people never raises.
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
    """The key of a result or the name of a metric. Raises TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"{call}: a name is text, not {type(name).__name__}")
    if len(name) > KEY_MAX_CHARS:
        raise ValueError(f"{call}: a name has at most {KEY_MAX_CHARS} characters, not {len(name):,} ({name[:40]!r}…)")
    if "\0" in name or clean(name) != name:
        raise ValueError(f"{call}: the name {name[:40]!r} has characters that no database keeps")
    return "".join(name)  # a plain str, whatever subclass it was


def number(call: str, value: Any) -> float:
    """The value of a metric. Raises TypeError for what is no number, ValueError for one that no float holds."""
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"{call}: a value is a number, not {type(value).__name__}; use ctx.result for text")
    try:
        held = float(value)
    except OverflowError as error:
        raise ValueError(f"{call}: the value is beyond the range of a float; use ctx.result") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"{call}: {error}") from error
    if isinstance(value, int) and int(held) != value:
        raise ValueError(f"{call}: a float does not hold {value} exactly; use ctx.result")
    return held


def step(call: str, value: Any) -> int | None:
    """The step of a metric as an int; a float that is whole is one. Raises TypeError, ValueError or OverflowError."""
    if value is None:
        return None
    try:
        whole = operator.index(value)
    except TypeError:
        whole = _whole(call, value)
    if not -STEP_MAX <= whole <= STEP_MAX:
        raise OverflowError(f"{call}: a step is a whole number of at most 64 bits")
    return whole


def _whole(call: str, value: Any) -> int:
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"{call}: a step is a whole number, not {type(value).__name__}")
    try:
        held = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{call}: a step is a whole number, not {type(value).__name__}") from error
    if not held.is_integer():
        raise ValueError(f"{call}: a step is a whole number, not {held!r}")
    return int(held)


def finite(value: Any) -> float | None:
    """A number of a progress, or None for what is none: NaN, infinite, no number at all. Never raises."""
    try:
        held = float(value)
    except Exception:  # also what a strange object's own methods raise
        return None
    return held if math.isfinite(held) else None


def progress_message(message: str) -> str:
    """The message, shortened with a mark."""
    most = PROGRESS_MESSAGE_MAX_CHARS
    return message if len(message) <= most else f"{message[: most - 1]}…"


def size(items: Iterable[Any]) -> int | None:
    """`len(items)`, or None where it has none, or one that cannot be told. Never raises."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except Exception:  # such as a DataLoader over a stream
        return None
