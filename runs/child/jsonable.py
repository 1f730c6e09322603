"""Encoding of an experiment's values as JSON: strict (results, checkpoints, summaries) or lenient (metadata). Pure.

`experiments.jsonvalues` describes the form of each type.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from experiments.exceptions import UnstorableValue
from experiments.jsonvalues import clean, pack, pack_leniently, shown
from runs.conf import runs_settings

__all__ = ["clean", "is_plain", "lenient", "shown", "strict"]

_encode = msgspec.json.Encoder().encode
_PLAIN_INTEGER = 2**63
_DEPTH_MAX = 190
"""Deepest nesting. The supervisor reads 200 levels, including those of the record itself."""


def strict(value: Any, *, max_bytes: int, keep_types: bool = False) -> bytes:
    """Encode `value` as JSON; `experiments.jsonvalues.unpack` restores it. Raises UnstorableValue."""
    packed = pack(value, max_bytes=max_bytes, max_depth=_max_depth(), keep_types=keep_types)
    body = _encode(packed)
    if len(body) > max_bytes:
        raise UnstorableValue(f"it has {len(body):,} bytes as JSON; at most {max_bytes:,} are kept", is_too_large=True)
    return body


def lenient(metadata: Mapping[str, Any], *, max_bytes: int) -> bytes:
    """Encode the metadata of a line as JSON. Values without a JSON form become their `repr`. Never raises."""
    if is_plain(metadata):
        with suppress(UnicodeEncodeError):
            return _encode(metadata)
    depth = _max_depth()
    return _encode(
        {shown(name): pack_leniently(value, max_bytes=max_bytes, max_depth=depth) for name, value in metadata.items()}
    )


def _max_depth() -> int:
    return min(runs_settings().value_max_depth, _DEPTH_MAX)


def is_plain(metadata: Mapping[str, Any]) -> bool:
    """Return whether JSON can hold the values unchanged. A fast check for nearly all metadata."""
    for value in metadata.values():
        kind = type(value)
        if kind is float:
            if not (0.0 < value < 1e15 or -1e15 < value < 0.0):
                return False
        elif kind is int:
            if not -_PLAIN_INTEGER < value < _PLAIN_INTEGER:
                return False
        elif kind is not str and kind is not bool and value is not None:
            return False
    return True
