r"""Blocks: consecutive records of an attempt, as one value of a list in Redis.

    #<attempt>:<first>:<last>:<code>\n<json>\n<json>...

Each line after the first is the JSON of an L or R frame, not decoded. JSON contains no raw newline. `first` and `last`
are seqs. The code is added by the push, see `runs.lines.codes`; earlier versions wrote none. A value of the form
`<attempt>:<seq>:<json>` holds one record; even earlier versions wrote these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runs.conf import runs_settings
from runs.lines import codes
from runs.lines.codes import Purpose
from runs.lines.records import position
from runs.states import AttemptKey

BLOCK_MAX_BYTES = 64 * 1024
"""Size of a block with more than one record."""

_HEADER_MAX_BYTES = 128


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
    attempt, first, last = map(int, value[1 : value.index(b"\n", 0, _HEADER_MAX_BYTES)].split(b":")[:3])
    place = Span(attempt, first, last)
    if not 0 < place.size <= len(value):
        raise ValueError("it holds fewer records than it says")
    return place


def sign(run_id: int, stream: str, value: bytes) -> bytes:
    """Add the code to a block without one. A value of the earlier form becomes a block of one record."""
    if not value.startswith(b"#"):
        attempt, seq, record = value.split(b":", 2)
        value = b"#%b:%b:%b\n%b" % (attempt, seq, seq, record)
    end = value.index(b"\n", 0, _HEADER_MAX_BYTES)
    head, records = value[:end], value[end:]
    return b"%b:%b%b" % (head, codes.make(Purpose.BLOCKS, _where(run_id, stream), head, records), records)


def is_genuine(run_id: int, stream: str, value: bytes, *, unsigned: bool = False) -> bool:
    """Return whether a block has the code of this run, list and place. `unsigned` is the answer for one without."""
    end = value.find(b"\n", 0, _HEADER_MAX_BYTES)
    head, colon, code = value[: max(end, 0)].rpartition(b":")
    if not value.startswith(b"#") or head.count(b":") < 2:
        return unsigned
    return bool(colon) and codes.is_valid(code, Purpose.BLOCKS, _where(run_id, stream), head, value[end:])


def genuine(run_id: int, stream: str, values: Sequence[bytes]) -> list[bytes]:
    """Return the values of a list that a supervisor of this run has sent."""
    unsigned = runs_settings().accept_unsigned
    return [value for value in values if is_genuine(run_id, stream, value, unsigned=unsigned)]


def _where(run_id: int, stream: str) -> bytes:
    return b"%d:%b" % (run_id, stream.encode())


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
