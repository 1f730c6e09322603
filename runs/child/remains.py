"""Live processes below the experiment's process, with their names for messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from runs.forkserver.prctl import IS_LINUX

NAMES_MAX = 5
"""Number of names that are shown. The others are counted."""
_NAME_MAX_CHARS = 100
_WALL = 0x40000000
"""Linux: children that send another signal than SIGCHLD too."""
_HELPERS = ("resource_tracker import main", "multiprocessing.forkserver import main")
"""Helper processes of multiprocessing and loky. They end when the process that started them has ended."""


def counted(noun: str, names: Collection[str]) -> str:
    """Format as `1 thread (uploader)` or `7 processes (a, b, c, d, e and 2 more)`."""
    plural = noun if len(names) == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    shown = ", ".join(list(names)[:NAMES_MAX])
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"{len(names)} {plural} ({shown}{more})"


def processes() -> list[str]:
    """List the live processes below this one, except helpers. Cheap if there are none."""
    if IS_LINUX and not _has_children():
        return []
    import psutil  # few runs need it

    names = _multiprocessing_names()
    rows = []
    with suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                command = " ".join(process.cmdline()) or process.name()
                if process.status() != psutil.STATUS_ZOMBIE and not any(helper in command for helper in _HELPERS):
                    rows.append(f"{names.get(process.pid, command[:_NAME_MAX_CHARS])}, pid {process.pid}")
    return rows


def multiprocessing_children() -> list[str]:
    """List the live processes that multiprocessing joins at the end of this one."""
    return [f"{name}, pid {pid}" for pid, name in _multiprocessing_names().items() if _is_alive(pid)]


def _multiprocessing_names() -> dict[int, str]:
    """Map pids to names, without `active_children()`, which would reap processes that another thread joins."""
    module = sys.modules.get("multiprocessing.process")
    children = list(getattr(module, "_children", ()))
    return {pid: child.name for child in children if (pid := getattr(child, "_popen", None) and child._popen.pid)}


def _has_children() -> bool:
    """Return whether a child of any thread is alive or not reaped. Reaps none.

    `/proc/self/task` would say so too, but then the kernel needs a millisecond more to remove the process.
    """
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL)
        return True
    return False


def _is_alive(pid: int) -> bool:
    if not IS_LINUX:
        with suppress(OSError):
            os.kill(pid, 0)
            return True
        return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    return False
