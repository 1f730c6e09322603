"""The log that proves who executed a run, and what it said: written by the run itself, beside all that is tested.

A file in the run's work folder, one JSON object a line: `{"mark", "attempt", "pid", "clock", ...}`, `clock` being that
of leases. Each execution, with every process that it forks, holds a lock on a second file while it lives, so that
one which begins while another lives notes `overlap`.
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
    """The writing side, in the process of the run. A mark is in the file when the call returns."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._attempt = attempt
        self._fd = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)  # closed by the end of the last process

    def begin(self, restored: int) -> None:
        """Take the lock, or note who has it; `restored`: the step from which this attempt goes on."""
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
    """What one attempt wrote down."""

    attempt: int
    begun_at: list[float] = field(default_factory=list)
    """More than one: the attempt was executed more than once."""
    last_at: float = float("-inf")
    """Its last mark: until then it certainly lived."""
    overlaps: int = 0
    restored: int = 0
    kept: int = 0
    """Steps whose checkpoint was acknowledged."""
    said: int = 0
    """So many lines were certainly written to the pipe."""
    saying: int = 0
    """So many at most."""
    results_said: int = 0
    results_saying: int = 0
    processes: list[tuple[int, float]] = field(default_factory=list)
    """pid and start of each process that it was, or made."""


def read(folder: Path) -> dict[int, Execution]:
    """Attempt → what it wrote down; empty if nothing of the run was ever executed."""
    try:
        text = (folder / JOURNAL).read_text(errors="replace")
    except FileNotFoundError:
        return {}
    return executions(_entries(text.splitlines()))


def executions(entries: Iterable[dict[str, Any]]) -> dict[int, Execution]:
    """Attempt → what it wrote down. Pure."""
    found: dict[int, Execution] = {}
    for entry in entries:
        execution = found.setdefault(entry["attempt"], Execution(entry["attempt"]))
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
                execution.saying, execution.results_saying = entry["lines"], entry["results"]
            case "said":
                execution.said, execution.results_said = entry["lines"], entry["results"]
            case "spawned":
                execution.processes.append((entry["child"], entry["started"] or 0.0))
    return found


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A line that its writer's death has cut is none."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue
