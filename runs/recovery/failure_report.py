"""Failure reports: parts of a report on an attempt that did not complete, and its description in sentences.

The attempt's supervisor writes the report or, if that was lost with its worker, reconcile, which has less information.
Pure except for reading the file of the stacks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from runs import formatting
from runs.folders import open_inside
from runs.lines.records import Line
from runs.outcomes import LastLine, ProcessRow

STACKS_MAX_CHARS = 20_000
MESSAGE_MAX_CHARS = 2_000

_STEPS = {"interrupt": "was interrupted", "terminate": "received SIGTERM", "kill": "was killed"}


def last_lines(lines: Iterable[Line]) -> list[LastLine]:
    """Convert lines to the form that is stored with an attempt."""
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
    """Read the newest part of the stacks that faulthandler wrote. Empty if this host has no such file."""
    with suppress(OSError), open_inside(file.parent, file.name) as opened:
        opened.seek(max(os.fstat(opened.fileno()).st_size - 4 * STACKS_MAX_CHARS, 0))
        return _text(opened)[-STACKS_MAX_CHARS:]
    return ""


def stacks_after(file: Path, size: int) -> str:
    """Read the part of the file after its first `size` bytes."""
    with suppress(OSError), open_inside(file.parent, file.name) as opened:
        opened.seek(size)
        return _text(opened)[:STACKS_MAX_CHARS]
    return ""


def _text(opened: BinaryIO) -> str:
    return opened.read(4 * STACKS_MAX_CHARS).decode(errors="replace").replace("\0", "␀")


def sentences(report: dict[str, Any]) -> Iterator[str]:
    """Describe a report in sentences. Reports of other versions may lack keys."""
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
    if events := [f"last {what} {formatting.duration(age)} earlier" for what, age in ages.items() if age is not None]:
        yield f"Before it ended: {', '.join(events)}."
    if "reconcile" in (value_of("written_by"), value_of("witness")):
        yield "The worker was lost. This report was made from the database and the run's folder."


def processes(tree: Iterable[ProcessRow]) -> Iterator[str]:
    """Format a process tree, one line for each process, children below their parents."""
    rows = list(tree)
    pids = {row["pid"] for row in rows}
    depth: dict[int, int] = {}
    for row in rows:
        depth[row["pid"]] = depth.get(row["parent"], -1) + 1 if row["parent"] in pids else 0
        used = f"{formatting.size(row['memory_bytes'])}, {formatting.duration(row['cpu_seconds'])} of CPU"
        yield f"{'  ' * depth[row['pid']]}{row['pid']} {row['command']} ({used})"
