"""Memory and CPU of whole process trees, for all runs of a worker from one look at the process table."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from runs.forkserver import process_tree
from runs.lines.records import plain
from runs.outcomes import ProcessRow

logger = logging.getLogger(__name__)

PROCESSES_MAX = 200
"""Most processes of one tree that are looked at closely."""
COMMAND_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process tree, root included."""

    memory_bytes: int
    """Sum of the resident sets; shared pages count in each process."""
    cpu_seconds: float
    processes: tuple[int, ...]
    """Their pids, root first."""


def measure(roots: Iterable[int]) -> dict[int, Usage]:
    """Root pid → usage of its tree. Processes that end meanwhile are left out."""
    rows = process_tree.table()
    return {root: _usage([root, *process_tree.descendants(root, rows)]) for root in roots}


def _usage(pids: list[int]) -> Usage:
    memory, cpu, alive = 0, 0.0, []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        except psutil.Error:
            continue
        alive.append(pid)
    return Usage(memory, cpu, tuple(alive))


def look(root: int) -> list[ProcessRow]:
    """A process tree, parents before children, at most PROCESSES_MAX. Processes that end meanwhile are left out."""
    found = []
    for pid in [root, *process_tree.descendants(root, process_tree.table())][:PROCESSES_MAX]:
        try:
            found.append(_seen(psutil.Process(pid)))
        except psutil.Error:
            continue
    return found


def _seen(process: psutil.Process) -> ProcessRow:
    with process.oneshot():
        times = process.cpu_times()
        command = " ".join(process.cmdline()) or process.name()
        return {
            "pid": process.pid,
            "parent": process.ppid(),
            "command": plain(command, COMMAND_MAX_CHARS),
            "memory_bytes": process.memory_info().rss,
            "cpu_seconds": round(times.user + times.system, 2),
        }


def proportional_memory(usage: Usage) -> int:
    """Bytes with shared pages divided among their users (PSS), where the kernel tells; else the sum of resident sets.

    Slower to read, so asked only when the quick sum is over a limit.
    """
    total = 0
    for pid in usage.processes:
        try:
            total += psutil.Process(pid).memory_full_info().pss
        except AttributeError:
            return usage.memory_bytes
        except psutil.Error:
            continue
    return total
