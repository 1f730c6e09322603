"""Orphan processes: those that outlived their worker on this machine. They are identified by their mark, and killed.

If the worker, the fork server or the keeper is killed, the others kill its processes. If all three are killed at once,
sub-processes of experiments survive without a parent of ours. Processes of live workers, of other users, and of other
containers are left alone.
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
"""Time for a fork server whose worker has ended to kill its own processes, before this module does."""
LIMIT_S = 3.0
"""Longest time for all of them to exit. A process that waits for a dead disk cannot be killed."""
POLL_S = 0.02


class OrphansAlive(Exception):
    """Some processes of a dead worker cannot be killed."""


def kill_orphans(patience_s: float = PATIENCE_S, limit_s: float = LIMIT_S) -> int:
    """Kill every process whose worker has ended, until none is left. Return how many it killed.

    Raises OrphansAlive after `limit_s`: the runs of these processes must not start again yet. Several processes may
    call it at once.
    """
    killed: set[int] = set()
    began = time.monotonic()
    while processes := orphan_processes():
        age = time.monotonic() - began
        if age > limit_s:
            raise OrphansAlive(f"Processes {[process.pid for process in processes]} of a dead worker cannot be killed")
        if age > patience_s:
            killed |= _kill(processes, spare_keepers=age < 2 * patience_s)
        time.sleep(POLL_S)
    if killed:
        logger.warning("Killed %d orphan processes of dead workers: %s", len(killed), sorted(killed))
    return len(killed)


def orphan_processes() -> list[psutil.Process]:
    """Return the live processes of this machine that descend from a fork server of an ended worker."""
    ended: dict[ServerMark, bool] = {}
    orphans = []
    for process, text in process_tree.with_variable(SERVER_MARK):
        mark = ServerMark.parsed(text)
        if mark is None or mark.boot_id != machine.boot_id():
            continue
        if mark not in ended:
            ended[mark] = machine.is_gone(machine.host(), mark.boot_id, mark.worker_pid, mark.worker_started)
        if ended[mark]:
            orphans.append(process)
    return orphans


def _kill(processes: list[psutil.Process], *, spare_keepers: bool) -> set[int]:
    """Kill processes. With `spare_keepers`, spare those at the top: a keeper also kills processes without a mark. A
    spared process is continued, in case it was stopped.
    """
    pids = {process.pid for process in processes}
    killed = set()
    for process in processes:
        with suppress(psutil.Error):
            if spare_keepers and process.ppid() not in pids:
                process.resume()
                continue
            process.kill()
            killed.add(process.pid)
    return killed
