"""Processes that outlived their worker on this machine: found by their mark, and killed.

Worker, fork server and keeper each see to it that nothing is left when another of them is killed. When all are killed
at once, an experiment's sub-processes live on with no parent of ours. Processes of living workers, of other users, and
of other containers are left alone.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import psutil

from runs.forkserver import machine, process_tree
from runs.forkserver.marks import SERVER_MARK, ServerMark

logger = logging.getLogger(__name__)

PATIENCE_S = 0.3
"""How long a fork server whose worker is gone may take to end what is its own, before this does it."""
LIMIT_S = 3.0
"""How long is tried; a process that waits for a dead disk cannot be killed."""
LOOK_S = 0.02


class OrphansAlive(Exception):
    """Some processes of a dead worker are still there."""


def kill_orphans(patience_s: float = PATIENCE_S, limit_s: float = LIMIT_S) -> int:
    """Kill every process whose worker is gone, until none is left; returns how many it had to kill.

    Raises OrphansAlive after `limit_s`: their runs must not start again yet. Safe to call from several processes at
    once.
    """
    killed: set[int] = set()
    began = time.monotonic()
    while found := orphan_processes():
        age = time.monotonic() - began
        if age > limit_s:
            raise OrphansAlive(f"Processes {[process.pid for process in found]} of a dead worker cannot be killed")
        if age > patience_s:
            killed |= _kill(found, spare_keepers=age < 2 * patience_s)
        time.sleep(LOOK_S)
    if killed:
        logger.warning("Killed %d processes that dead workers had left: %s", len(killed), sorted(killed))
    return len(killed)


def orphan_processes() -> list[psutil.Process]:
    """Living processes of this machine that descend from a fork server whose worker is gone."""
    gone: dict[ServerMark, bool] = {}
    found = []
    for process, text in process_tree.with_variable(SERVER_MARK):
        mark = ServerMark.parsed(text)
        if mark is None or mark.boot_id != machine.boot_id():
            continue
        if mark not in gone:
            gone[mark] = machine.is_gone(machine.host(), mark.boot_id, mark.worker_pid, mark.worker_started)
        if gone[mark]:
            found.append(process)
    return found


def _kill(found: list[psutil.Process], *, spare_keepers: bool) -> set[int]:
    """Kill them; with `spare_keepers` not those at the top, since a keeper ends also what has lost its mark. Such a one
    is continued, in case that it was stopped.
    """
    pids = {process.pid for process in found}
    killed = set()
    for process in found:
        with suppress(psutil.Error):
            if spare_keepers and process.ppid() not in pids:
                process.resume()
                continue
            process.kill()
            killed.add(process.pid)
    return killed
