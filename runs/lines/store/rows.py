"""Conversion of buffer entries to rows that every database accepts. Pure.

A record that cannot be stored exactly (invalid JSON, a step beyond 64 bits, a key that is too long) becomes a row that
shows it. An entry without a valid key is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from django.db.models import Model

from runs.lines.records import Line, ResultRecord, plain
from runs.models import LogLine, Result
from runs.states import Level, ResultKind, Source

logger = logging.getLogger(__name__)

Record = TypeVar("Record", Line, ResultRecord)
Row = tuple[Any, ...]
"""Columns run_id, attempt, seq, time (aware), then those of the table; JSON as text."""

SEQ_MAX, ATTEMPT_MAX = 2**63 - 1, 2**31 - 1
KEY_MAX = 200


@dataclass(frozen=True, slots=True)
class Table:
    """Table of rows, and the replacement for a row that the database refuses."""

    model: type[Model]
    columns: tuple[str, ...]
    substitute: Callable[[Row, str], Row]


def read(entries: Iterable[bytes], decode: Callable[[bytes], Record]) -> tuple[list[Record], int]:
    """Decode entries. Return the records, and the number of entries without a valid attempt and seq."""
    records: list[Record] = []
    dropped = 0
    for entry in entries:
        try:
            record = decode(entry)
            if not (1 <= record.attempt <= ATTEMPT_MAX and 1 <= record.seq <= SEQ_MAX):
                raise ValueError("its attempt or seq is out of range")
        except ValueError as error:
            logger.error(  # noqa: TRY400  # the place in the code is irrelevant
                "Dropped a buffer entry without a valid key (%s): %r", error, entry[:200]
            )
            dropped += 1
        else:
            records.append(record)
    return records, dropped


def line_rows(run_id: int, lines: Iterable[Line], lines_max: int) -> list[Row]:
    """Make rows of LINES. The first line beyond `lines_max` of an attempt becomes a notice; later ones are dropped."""
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


def result_rows(run_id: int, results: Iterable[ResultRecord]) -> list[Row]:
    """Make rows of RESULTS."""
    return [_result_row(run_id, result) for result in results]


def _result_row(run_id: int, result: ResultRecord) -> Row:
    key, step, number, value = result.key, result.step, result.number, result.value
    if step is not None and not -SEQ_MAX <= step <= SEQ_MAX:
        step, number, value = None, None, {"unreadable step": str(step), "value": value if number is None else number}
    if len(key) > KEY_MAX:
        key = key[: KEY_MAX - 1] + "…"
    text = None if number is not None else _json(value)
    return run_id, result.attempt, result.seq, moment(result.time), result.kind, key, step, number, text


def moment(time: float) -> datetime:
    """Convert seconds since the epoch to aware UTC. Return the current time if there is no such date."""
    try:
        return datetime.fromtimestamp(time, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.now(UTC)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _system_line(run_id: int, line: Line, message: str) -> Row:
    return run_id, line.attempt, line.seq, moment(line.time), int(Level.WARNING), str(Source.SYSTEM), message, None


def _line_substitute(row: Row, why: str) -> Row:
    text = f"the database refuses this line ({plain(why)}): {plain(str(row[6]))}"
    return (*row[:4], int(Level.WARNING), str(Source.SYSTEM), text, None)


def _result_substitute(row: Row, why: str) -> Row:
    shown = {"refused": plain(why), "key": plain(str(row[5])), "value": plain(str(row[8]))}
    return (*row[:4], str(ResultKind.RESULT), "unreadable", None, None, _json(shown))


LINES = Table(
    LogLine,
    ("run_id", "attempt", "seq", "time", "level", "source", "message", "metadata"),
    substitute=_line_substitute,
)
RESULTS = Table(
    Result,
    ("run_id", "attempt", "seq", "time", "kind", "key", "step", "number", "value"),
    substitute=_result_substitute,
)
