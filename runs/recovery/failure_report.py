"""The death certificate: one record of what was known when an attempt ended badly, and how it is told. Pure but for the
file of the stacks.

Written by the attempt's supervisor, or, where that had vanished with its worker, by the reconciler, which knows less.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from runs import formatting
from runs.lines.records import Line

STACKS_MAX_CHARS = 20_000
MESSAGE_MAX_CHARS = 2_000

_STEPS = {"interrupt": "was interrupted", "terminate": "got SIGTERM", "kill": "was killed"}


class LastLine(TypedDict):
    seq: int
    time: float
    level: int
    source: str
    message: str


class LimitMet(TypedDict):
    name: str
    """As in experiments.limits, or `start_timeout_s`."""
    value: float


class ProcessSeen(TypedDict):
    """One process of a run's tree."""

    pid: int
    parent: int
    command: str
    memory_bytes: int
    cpu_seconds: float


class Certificate(TypedDict):
    """Stored as `Attempt.certificate`. Ages are seconds before the end; None where it never happened, or nobody
    knows.
    """

    witness: str
    """Who wrote it: "supervisor" or "reconcile"."""
    failure_kind: str
    exit_status: int | None
    signal: int | None
    peak_memory_bytes: int | None
    """Of the whole process tree."""
    cpu_seconds: float | None
    limit: LimitMet | None
    """The one that was met."""
    asked_by: str
    """Who or what asked for the end, if not the experiment itself."""
    started: bool
    """Whether the experiment's own code was reached."""
    steps: list[str]
    """What was done to it, in order of force: interrupt, terminate, kill."""
    heartbeat_age_s: float | None
    """Since its worker last renewed the lease."""
    last_sign_age_s: float | None
    """Since the last line, result or progress."""
    last_line_age_s: float | None
    last_progress_age_s: float | None
    last_lines: list[LastLine]
    stacks: str
    """Python stacks of all its threads, newest dump last; empty if none was taken."""
    processes: list[ProcessSeen]
    """Its process tree when it was last looked at closely."""


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


def words(certificate: dict[str, Any]) -> Iterator[str]:
    """The certificate in sentences, for people. Takes what an older version wrote, too."""
    said = certificate.get
    if limit := said("limit"):
        value = limit["value"]
        shown = formatting.size(value) if limit["name"].endswith("_bytes") else formatting.duration(value)
        yield f"It met its limit {limit['name']} of {shown}."
    if asked_by := said("asked_by"):
        yield f"Ended because: {asked_by}"
    if done := [_STEPS[step] for step in ("interrupt", "terminate", "kill") if step in (said("steps") or ())]:
        yield f"It {', then '.join(done)}."
    if not said("started", True):
        yield "Its own code was never reached."
    ages = {
        "line": said("last_line_age_s"),
        "progress": said("last_progress_age_s"),
        "sign of life": said("last_sign_age_s"),
        "heartbeat of its worker": said("heartbeat_age_s"),
    }
    if known := [f"last {what} {formatting.duration(age)}" for what, age in ages.items() if age is not None]:
        yield f"Before its end: {', '.join(known)}."
    if said("witness") == "reconcile":
        yield "Its worker vanished with what it knew; this is what the database and the run's folder tell."


def processes(found: Iterable[ProcessSeen]) -> Iterator[str]:
    """A process tree, one line each, children below their parents."""
    rows = list(found)
    pids = {row["pid"] for row in rows}
    depth: dict[int, int] = {}
    for row in rows:
        depth[row["pid"]] = depth.get(row["parent"], -1) + 1 if row["parent"] in pids else 0
        used = f"{formatting.size(row['memory_bytes'])}, {formatting.duration(row['cpu_seconds'])} of CPU"
        yield f"{'  ' * depth[row['pid']]}{row['pid']} {row['command']} ({used})"
