"""Conversion of buffer entries to rows that every database accepts. Pure.

A record that cannot be stored exactly (invalid JSON, a step beyond 64 bits, a key that is too long) becomes a row that
shows it. An entry without a valid key is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import modf
from typing import Any, NamedTuple

import msgspec
from django.db.models import Model

from runs.lines import blocks
from runs.lines.blocks import Span
from runs.lines.records import Line, LineBody, ResultRecord, decode_line, decode_lines, decode_result, plain
from runs.models import LogLine, Result
from runs.states import Level, ResultKind, Source

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]
"""Columns run_id, attempt, seq, time (UTC, as text without a zone), then those of the table; JSON as text."""

SEQ_MAX, ATTEMPT_MAX = 2**63 - 1, 2**31 - 1
KEY_MAX = 200

NULL = "\\N"
"""Null in the text of COPY."""

_YEAR_10000 = 253_402_300_800
_json_of = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Table:
    """Table of rows, their form for COPY, and the replacement for a row that the database refuses."""

    model: type[Model]
    columns: tuple[str, ...]
    copied: Callable[[Iterable[Row]], list[str]]
    """Format rows for COPY, without escapes."""
    substitute: Callable[[Row, str], Row]


class Placed(NamedTuple):
    """Value of a buffer's list, and its place."""

    span: Span
    value: bytes


def placed(values: Iterable[bytes]) -> tuple[list[Placed], int]:
    """Return the values in the order of their places, and the number of those without a valid attempt and seq."""
    found: list[Placed] = []
    dropped = 0
    for value in values:
        try:
            place = blocks.span(value)
            if not (1 <= place.attempt <= ATTEMPT_MAX and 1 <= place.first <= place.last <= SEQ_MAX):
                raise ValueError("its attempt or seq is out of range")
        except ValueError as error:
            logger.error(  # noqa: TRY400  # the place in the code is irrelevant
                "Dropped a buffer entry without a valid key (%s): %r", error, value[:200]
            )
            dropped += 1
        else:
            found.append(Placed(place, value))
    return sorted(found), dropped


def line_rows(run_id: int, place: Span, value: bytes, lines_max: int) -> list[Row]:
    """Make rows of LINES. The first line beyond `lines_max` of an attempt becomes a notice; later ones are dropped."""
    if value.startswith(b"#") and place.last <= lines_max:
        try:
            return _plain_rows(run_id, place, decode_lines(blocks.body(value)))
        except ValueError as error:
            logger.debug("Decoding lines %d to %d of run %d one by one: %s", place.first, place.last, run_id, error)
    return _each_line(run_id, map(decode_line, blocks.entries(value)), lines_max)


def _plain_rows(run_id: int, place: Span, lines: Sequence[LineBody]) -> list[Row]:
    if len(lines) != place.size:
        raise ValueError(f"it holds {len(lines)} lines")
    return [
        (run_id, place.attempt, seq, moment(time), level, source, message, _json(metadata) if metadata else None)
        for seq, (time, level, source, message, metadata) in enumerate(lines, place.first)
    ]


def _each_line(run_id: int, lines: Iterable[Line], lines_max: int) -> list[Row]:
    rows: list[Row] = []
    for line in lines:
        if line.seq > lines_max:
            if line.seq == lines_max + 1:
                rows.append(_system_line(run_id, line, f"more than {lines_max:,} lines: the following are not stored"))
            continue
        metadata = None if line.metadata is None else _json(line.metadata)
        rows.append(
            (run_id, line.attempt, line.seq, moment(line.time), line.level, line.source, line.message, metadata)
        )
    return rows


def result_rows(run_id: int, value: bytes) -> list[Row]:
    """Make rows of RESULTS."""
    return [_result_row(run_id, decode_result(entry)) for entry in blocks.entries(value)]


def _result_row(run_id: int, result: ResultRecord) -> Row:
    key, step, number, value = result.key, result.step, result.number, result.value
    if step is not None and not -SEQ_MAX <= step <= SEQ_MAX:
        step, number, value = None, None, {"unreadable step": str(step), "value": value if number is None else number}
    if len(key) > KEY_MAX:
        key = key[: KEY_MAX - 1] + "…"
    text = None if number is not None else _json(value)
    return run_id, result.attempt, result.seq, moment(result.time), result.kind, key, step, number, text


def moment(time: float) -> str:
    """Format seconds since the epoch as UTC without a zone. Return the current time if there is no such date."""
    fraction, whole = modf(time)
    microseconds = round(fraction * 1e6)
    if 0 <= whole < _YEAR_10000 and 0 < microseconds < 1_000_000:
        return f"{_second(whole)}.{microseconds:06d}"
    try:
        return str(datetime.fromtimestamp(time, UTC).replace(tzinfo=None))
    except (OverflowError, ValueError, OSError):
        return str(datetime.now(UTC).replace(tzinfo=None))


@lru_cache(maxsize=16)
def _second(whole: float) -> str:
    return str(datetime.fromtimestamp(whole, UTC).replace(tzinfo=None))


def _json(value: Any) -> str:
    return _json_of(value).decode()


def _system_line(run_id: int, line: Line, message: str) -> Row:
    return run_id, line.attempt, line.seq, moment(line.time), int(Level.WARNING), str(Source.SYSTEM), message, None


def _line_substitute(row: Row, why: str) -> Row:
    text = f"the database refuses this line ({plain(why)}): {plain(str(row[6]))}"
    return (*row[:4], int(Level.WARNING), str(Source.SYSTEM), text, None)


def _result_substitute(row: Row, why: str) -> Row:
    shown = {"refused": plain(why), "key": plain(str(row[5])), "value": plain(str(row[8]))}
    return (*row[:4], str(ResultKind.RESULT), "unreadable", None, None, _json(shown))


def _copied_lines(rows: Iterable[Row]) -> list[str]:
    return [
        f"{run}\t{attempt}\t{seq}\t{time}+00\t{level}\t{source}\t{message}\t{NULL if about is None else about}\n"
        for run, attempt, seq, time, level, source, message, about in rows
    ]


def _copied_results(rows: Iterable[Row]) -> list[str]:
    return [
        "\t".join([NULL if field is None else str(field) for field in (*row[:3], f"{row[3]}+00", *row[4:])]) + "\n"
        for row in rows
    ]


LINES = Table(
    LogLine,
    ("run_id", "attempt", "seq", "time", "level", "source", "message", "metadata"),
    copied=_copied_lines,
    substitute=_line_substitute,
)
RESULTS = Table(
    Result,
    ("run_id", "attempt", "seq", "time", "kind", "key", "step", "number", "value"),
    copied=_copied_results,
    substitute=_result_substitute,
)
