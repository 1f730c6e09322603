"""Strict decoding of a child's control records: all records except lines and results.

For any bytes, each function returns a value that the database accepts, or raises UnreadableRecord with the problem and
its place. `runs.lines.records` defines the shapes and their bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from experiments.exceptions import pause_within_reason
from runs.lines.records import ArtifactRecord, CheckpointRecord, End, Hello, Progress, check_depth, without_nul

T = TypeVar("T")

_end = msgspec.json.Decoder(End).decode
_checkpoint = msgspec.json.Decoder(CheckpointRecord).decode
_artifact = msgspec.json.Decoder(ArtifactRecord).decode
_hello = msgspec.json.Decoder(Hello).decode
_progress = msgspec.json.Decoder(tuple[float, float | None, str]).decode
_CHECKPOINT_ID = re.compile(rb'C\{"id":(\d{1,9}),')


class UnreadableRecord(ValueError):
    """A record is not valid for its kind."""


def end(record: bytes) -> End:
    """Decode an E record."""
    report = _read(_end, record)
    if "after_s" in report:
        try:
            report["after_s"] = pause_within_reason(report["after_s"])
        except ValueError as error:
            raise UnreadableRecord(str(error)) from error
    return report


def checkpoint(record: bytes) -> CheckpointRecord:
    """Decode a C record."""
    return _read(_checkpoint, record)


def checkpoint_id(record: bytes) -> int | None:
    """Read the id of a C record that is not valid as a whole; None if the id is not readable either."""
    match = _CHECKPOINT_ID.match(record)
    return int(match[1]) if match else None


def artifact(record: bytes) -> ArtifactRecord:
    """Decode an A record."""
    return _read(_artifact, record)


def hello(record: bytes) -> Hello:
    """Decode an H record."""
    return _read(_hello, record)


def progress(record: bytes) -> Progress:
    """Decode a P record."""
    current, total, message = _read(_progress, record)
    return Progress(current, total, message)


def _read(decode: Callable[[bytes], T], record: bytes) -> T:
    body = record[1:]
    try:
        value = decode(body)
        check_depth(value, body)
        return without_nul(value)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise UnreadableRecord("nested too deep") from error
    except (msgspec.MsgspecError, ValueError, ArithmeticError) as error:
        raise UnreadableRecord(str(error)) from error
