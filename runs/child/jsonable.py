"""Anything an experiment hands over, as JSON: strictly (results, checkpoints, summaries) or at any price (metadata).
Pure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

_REPR_MAX_CHARS = 10_000


def strict(value: Any) -> bytes:
    """JSON of `value`. Knows what msgspec knows (dataclasses, datetimes, ...), pydantic models, paths, and what is
    like a NumPy array or scalar. NaN and infinities within it become null. Raises TypeError that says what it cannot
    hold.
    """
    try:
        try:
            return _strict.encode(value)
        except UnicodeEncodeError:
            return _strict.encode(_without_surrogates(msgspec.to_builtins(value, enc_hook=_plain)))
    except Exception as error:  # also what a strange object's own methods raise
        raise TypeError(str(error) or type(error).__name__) from error


def lenient(value: Any) -> bytes:
    """JSON of `value`; what has none appears as its `repr`. Never raises."""
    try:
        return _lenient.encode(value)
    except Exception:
        if isinstance(value, dict):
            members = (strict(shown(name)) + b":" + lenient(item) for name, item in value.items())
            return b"{" + b",".join(members) + b"}"
        return strict(shown(value))


def shown(value: Any) -> str:
    """`value` if it is text, else its `repr`, of bounded length; fit for JSON, and never an error."""
    try:
        return clean(value if isinstance(value, str) else repr(value)[:_REPR_MAX_CHARS])
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def clean(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot hold, shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """What stands for an object that msgspec does not know. Raises TypeError if nothing does."""
    for kind in (str, int, float):
        if isinstance(value, kind):  # a subclass, such as numpy.float64
            return kind(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    for method in ("tolist", "item"):  # NumPy, torch, pandas
        if callable(convert := getattr(value, method, None)):
            plain = convert()
            return float(plain) if type(plain) is type(value) else plain
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set)):
        return list(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON: {shown(value)[:200]}")


def _plain_or_shown(value: Any) -> Any:
    try:
        return _plain(value)
    except Exception:
        return shown(value)


_strict = msgspec.json.Encoder(enc_hook=_plain)
_lenient = msgspec.json.Encoder(enc_hook=_plain_or_shown)
