"""Memory and CPU time of process trees, for all runs of a worker from one read of the process table."""

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
"""Number of processes of one tree that an inspection shows."""
COMMAND_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources of one process tree, including its root."""

    memory_bytes: int
    """Sum of the resident sets; shared pages count in each process."""
    cpu_seconds: float
    processes: tuple[int, ...]
    """Pids, root first."""


def measure(roots: Iterable[int]) -> dict[int, Usage]:
    """Measure the tree of each root pid. Processes that end meanwhile are left out."""
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


def process_rows(root: int) -> list[ProcessRow]:
    """List a process tree, parents before children, at most PROCESSES_MAX. Omits processes that end meanwhile."""
    rows = []
    for pid in [root, *process_tree.descendants(root, process_tree.table())][:PROCESSES_MAX]:
        try:
            rows.append(_row(psutil.Process(pid)))
        except psutil.Error:
            continue
    return rows


def _row(process: psutil.Process) -> ProcessRow:
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
    """Sum the proportional set sizes (PSS), which divide shared pages among their users. Without a PSS (not Linux),
    return the sum of the resident sets.

    Slower to read, so only called when that sum exceeds a limit.
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
