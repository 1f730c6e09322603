"""Failure report: one record of what was known when an attempt did not complete, and its description. Pure but for
the file of the stacks.

Written by the attempt's supervisor, or, if that vanished with its worker, by reconcile, which knows less.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from runs import formatting
from runs.lines.records import Line
from runs.outcomes import LastLine, ProcessRow

STACKS_MAX_CHARS = 20_000
MESSAGE_MAX_CHARS = 2_000

_STEPS = {"interrupt": "was interrupted", "terminate": "received SIGTERM", "kill": "was killed"}


def last_lines(lines: Iterable[Line]) -> list[LastLine]:
    """Lines as they are kept with an attempt."""
    return [
        {
            "seq": line.seq,
            "time": line.time,
            "level": line.level,
            "source": line.source,
            "message": line.message[:MESSAGE_MAX_CHARS],
        }
        for line in lines
    ]


def stacks(file: Path) -> str:
    """The newest part of the stacks that faulthandler wrote; empty if there are none, or none that this host sees."""
    with suppress(OSError), _open_regular(file) as opened:
        opened.seek(max(os.fstat(opened.fileno()).st_size - 4 * STACKS_MAX_CHARS, 0))
        return _text(opened)[-STACKS_MAX_CHARS:]
    return ""


def stacks_after(file: Path, size: int) -> str:
    """What was added to the file since it had this size."""
    with suppress(OSError), _open_regular(file) as opened:
        opened.seek(size)
        return _text(opened)[:STACKS_MAX_CHARS]
    return ""


def _open_regular(file: Path) -> BinaryIO:
    """Open a file for reading. The experiment may have put anything in its place, as a pipe that nobody writes to.
    Raises OSError for what is no regular file.
    """
    opened = os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise OSError(f"{file} is not a regular file")
    return opened


def _text(opened: BinaryIO) -> str:
    return opened.read(4 * STACKS_MAX_CHARS).decode(errors="replace").replace("\0", "␀")


def words(report: dict[str, Any]) -> Iterator[str]:
    """Describe a report in sentences. Reports of older versions are described as far as they go."""
    value_of = report.get
    if limit := value_of("limit"):
        value = limit["value"]
        shown = formatting.size(value) if limit["name"].endswith("_bytes") else formatting.duration(value)
        yield f"Exceeded its limit {limit['name']} of {shown}."
    if asked_by := value_of("asked_by"):
        yield f"Reason: {asked_by}"
    if done := [_STEPS[step] for step in ("interrupt", "terminate", "kill") if step in (value_of("steps") or ())]:
        yield f"The process {', then '.join(done)}."
    if not value_of("started", True):
        yield "The experiment's own code was not reached."
    ages = {
        "log line": value_of("last_line_age_s"),
        "progress": value_of("last_progress_age_s"),
        "sign of life": value_of("last_sign_age_s"),
        "heartbeat of the worker": value_of("heartbeat_age_s"),
    }
    if known := [f"last {what} {formatting.duration(age)} earlier" for what, age in ages.items() if age is not None]:
        yield f"Before it ended: {', '.join(known)}."
    if "reconcile" in (value_of("written_by"), value_of("witness")):
        yield "The worker was lost. This report was made from the database and the run's folder."


def processes(found: Iterable[ProcessRow]) -> Iterator[str]:
    """A process tree, one line each, children below their parents."""
    rows = list(found)
    pids = {row["pid"] for row in rows}
    depth: dict[int, int] = {}
    for row in rows:
        depth[row["pid"]] = depth.get(row["parent"], -1) + 1 if row["parent"] in pids else 0
        used = f"{formatting.size(row['memory_bytes'])}, {formatting.duration(row['cpu_seconds'])} of CPU"
        yield f"{'  ' * depth[row['pid']]}{row['pid']} {row['command']} ({used})"
