"""Process trees: list descendants and kill whole trees, daemons included.

A descendant that double-forks or starts its own session still belongs to the nearest living ancestor that adopts
orphans (each child, the fork server, its keeper), so that on Linux none escapes. A killed process counts as gone even
before its parent has reaped it.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runs.forkserver.prctl import IS_LINUX

if TYPE_CHECKING:
    import psutil

TRACKER_GRACE_S = 10.0
"""Time for a resource tracker to clean up after the last process that used it."""
EXEC_GRACE_S = 0.5
"""Time for a process to execute a program. While it does, Linux shows no command line of it."""
_TRACKER = b"resource_tracker import main"

_PROC = Path("/proc")


class Row(NamedTuple):
    """One process of the machine."""

    parent: int
    session: int
    is_dead: bool
    """True if it has ended but is not reaped yet."""


def table() -> dict[int, Row]:
    """Return every process of the machine, by pid. Takes a few milliseconds."""
    return _linux_table() if IS_LINUX else _psutil_table()


def _linux_table() -> dict[int, Row]:
    rows = {}
    for name in os.listdir(_PROC):  # noqa: PTH208  # creating a Path costs as much as reading the state
        if name.isdigit() and (row := _linux_row(name)):
            rows[int(name)] = row
    return rows


def _linux_row(pid: str) -> Row | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123  # as above
            state, parent, _, session, *_ = file.read().rpartition(b")")[2].split(maxsplit=4)
    except (OSError, ValueError):
        return None  # it has just ended
    return Row(int(parent), int(session), state in (b"Z", b"X"))


def _psutil_table() -> dict[int, Row]:
    import psutil  # not loaded in the keeper on Linux

    rows = {}
    for process in psutil.process_iter(["ppid", "status"]):
        with suppress(OSError):
            session = os.getsid(process.pid)
            rows[process.pid] = Row(process.info["ppid"], session, process.info["status"] == psutil.STATUS_ZOMBIE)
    return rows


def descendants(root: int, rows: Mapping[int, Row]) -> list[int]:
    """Return the living processes below `root`, parents before their children, including those below dead ones."""
    below: dict[int, list[int]] = defaultdict(list)
    for pid, row in rows.items():
        below[row.parent].append(pid)
    pids = [root]
    for pid in pids:
        pids += [child for child in below.get(pid, ()) if child != root]
    return [pid for pid in pids[1:] if not rows[pid].is_dead]


def signal_tree(root: int, number: int) -> None:
    """Send a signal to `root`, a child of this process, and to every process below it."""
    below = descendants(root, table())
    send(root, number)
    for pid in below:
        send(pid, number)


def kill_trees(roots: Collection[int], *, timeout_s: float = 1.0) -> dict[int, int]:
    """Stop the roots, kill everything below them until nothing remains, then kill the roots.

    The caller guarantees that no pid has been reused. Returns the number of killed descendants of each root. The
    process that adopts them must end the rest: resource trackers, and what cannot be killed within `timeout_s` (it
    waits for a dead disk).
    """
    for root in roots:
        send(root, signal.SIGSTOP)
    killed: dict[int, set[int]] = {root: set() for root in roots}
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        rows = table()
        alive = {root: [pid for pid in descendants(root, rows) if not clean_up_time_s(pid)] for root in roots}
        if not any(alive.values()):
            break
        for root, pids in alive.items():
            killed[root].update(pids)
            for pid in pids:
                send(pid, signal.SIGKILL)
    for root in roots:
        send(root, signal.SIGKILL)
    return {root: len(pids) for root, pids in killed.items()}


def clean_up_time_s(pid: int) -> float:
    """Return how long a process may live after those that it was started by, in seconds. Zero for nearly all.

    Resource trackers of multiprocessing and loky remove leaked shared memory and temporary files. They do so, and exit,
    when the other end of their pipe is closed: when all processes that use them have ended. A process without a command
    line is about to execute a program, which may be a tracker.
    """
    with suppress(OSError):
        command = (_PROC / str(pid) / "cmdline").read_bytes()
        return EXEC_GRACE_S if not command else TRACKER_GRACE_S if _TRACKER in command else 0.0
    return 0.0


def own_children() -> set[int]:
    """Return the pids of this process's direct children, including dead ones. For a single-threaded process."""
    if IS_LINUX:
        with suppress(OSError):
            path = _PROC / "self" / "task" / str(os.getpid()) / "children"
            return {int(pid) for pid in path.read_bytes().split()}
    return {pid for pid, row in table().items() if row.parent == os.getpid()}


def with_variable(name: str) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the living processes of this user that have this variable in their environment, with its value.

    The environment is that of the last exec: a forked process has its parent's.
    """
    import psutil  # as above

    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            value = process.environ().get(name)
            if value is not None and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                yield process, value


def marked(variable: str, value: str) -> list[int]:
    """Return the pids of living processes of this user that have `variable=value` in their environment."""
    return [process.pid for process, other in with_variable(variable) if other == value]


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may no longer exist."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
