"""Journal of a run, written by the run itself: evidence of who executed it and what it logged, independent of Athanor.

A file in the run's work folder with one JSON object a line: `{"mark", "attempt", "pid", "clock", ...}`, with the clock
of leases. Each execution, with every process that it forks, holds a lock on a second file while it lives, so that an
execution that begins while another one lives writes the mark `overlap`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runs.forkserver import machine
from runs.forkserver.clock import lease_clock

JOURNAL, LOCK = "journal", "journal.lock"


class Journal:
    """Writer of the journal, in the process of the run. A mark is in the file when the call returns."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._attempt = attempt
        self._fd = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)  # closed by the end of the last process

    def begin(self, restored: int) -> None:
        """Take the lock, or record an overlap. `restored`: first step of this attempt."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.mark("overlap")
        self.mark("start", restored=restored, started=machine.started(os.getpid()))

    def mark(self, mark: str, **more: Any) -> None:
        entry = {"mark": mark, "attempt": self._attempt, "pid": os.getpid(), "clock": lease_clock(), **more}
        os.write(self._fd, json.dumps(entry).encode() + b"\n")

    def spawned(self, pid: int) -> None:
        self.mark("spawned", child=pid, started=machine.started(pid))


@dataclass(slots=True)
class Execution:
    """Journal entries of one attempt, summarized."""

    attempt: int
    begun_at: list[float] = field(default_factory=list)
    """Start times; several mean that the attempt was executed more than once."""
    last_at: float = float("-inf")
    """Time of its last mark: until then it was alive."""
    overlaps: int = 0
    restored: int = 0
    kept: int = 0
    """Number of steps with an acknowledged checkpoint."""
    lines_min: int = 0
    """Number of lines that were certainly written to the pipe."""
    lines_max: int = 0
    """Upper bound of that number."""
    results_min: int = 0
    results_max: int = 0
    processes: list[tuple[int, float]] = field(default_factory=list)
    """pid and start time of its own process and of each that it started."""


def read(folder: Path) -> dict[int, Execution]:
    """Return attempt → its entries; empty if the run was never executed."""
    try:
        text = (folder / JOURNAL).read_text(errors="replace")
    except FileNotFoundError:
        return {}
    return executions(_entries(text.splitlines()))


def executions(entries: Iterable[dict[str, Any]]) -> dict[int, Execution]:
    """Return attempt → its entries. Pure."""
    by_attempt: dict[int, Execution] = {}
    for entry in entries:
        execution = by_attempt.setdefault(entry["attempt"], Execution(entry["attempt"]))
        execution.last_at = entry["clock"]
        match entry["mark"]:
            case "start":
                execution.begun_at.append(entry["clock"])
                execution.restored = entry["restored"]
                execution.processes.append((entry["pid"], entry["started"] or 0.0))
            case "overlap":
                execution.overlaps += 1
            case "kept":
                execution.kept = entry["step"]
            case "saying":
                execution.lines_max, execution.results_max = entry["lines"], entry["results"]
            case "said":
                execution.lines_min, execution.results_min = entry["lines"], entry["results"]
            case "spawned":
                execution.processes.append((entry["child"], entry["started"] or 0.0))
    return by_attempt


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Parse lines, skipping one that was cut off by a kill."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue
