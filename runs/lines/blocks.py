r"""Blocks: consecutive records of an attempt, as one value of a list in Redis. Pure.

    #<attempt>:<first>:<last>\n<json>\n<json>...

Each line after the first is the JSON of an L or R frame, not decoded. JSON contains no raw newline. `first` and `last`
are seqs. A value of the form `<attempt>:<seq>:<json>` holds one record: earlier versions wrote these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runs.lines.records import position
from runs.states import AttemptKey

BLOCK_MAX_BYTES = 64 * 1024
"""Size of a block with more than one record."""

_HEADER_MAX_BYTES = 64


class Span(NamedTuple):
    """Place of a value: the attempt, and the first and the last seq."""

    attempt: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def pack(key: AttemptKey, first: int, records: Sequence[bytes]) -> list[bytes]:
    """Make blocks from L (or R) records with consecutive seqs from `first`."""
    if not records:
        return []
    if len(records) > 1 and sum(map(len, records)) > BLOCK_MAX_BYTES:
        half = len(records) // 2
        return pack(key, first, records[:half]) + pack(key, first + half, records[half:])
    kind = b"\n%c" % records[0][0]
    body = (b"\n%b" % b"\n".join(records)).replace(kind, b"\n")  # without the letters
    return [b"#%d:%d:%d%b" % (key.number, first, first + len(records) - 1, body)]


def span(value: bytes) -> Span:
    """Return the place of a value. Raises ValueError if it has none."""
    if not value.startswith(b"#"):
        attempt, seq = position(value)
        return Span(attempt, seq, seq)
    attempt, first, last = map(int, value[1 : value.index(b"\n", 0, _HEADER_MAX_BYTES)].split(b":"))
    place = Span(attempt, first, last)
    if not 0 < place.size <= len(value):
        raise ValueError("it holds fewer records than it says")
    return place


def body(value: bytes) -> bytes:
    """Return the records of a block as JSON, one on each line."""
    return value[value.index(b"\n") + 1 :]


def entries(value: bytes) -> list[bytes]:
    """Return the records of a value, each as `<attempt>:<seq>:<json>`. Raises ValueError if it has no place."""
    if not value.startswith(b"#"):
        return [value]
    place = span(value)
    bodies = body(value).split(b"\n", place.size - 1)
    bodies += [b""] * (place.size - len(bodies))  # shown as unreadable
    return [b"%d:%d:%b" % (place.attempt, seq, each) for seq, each in enumerate(bodies, place.first)]


def count(values: Iterable[bytes]) -> int:
    """Count the records of `values`. A value without a place counts as one."""
    return sum(map(_count, values))


def _count(value: bytes) -> int:
    try:
        return span(value).size
    except ValueError:
        return 1
