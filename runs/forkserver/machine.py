"""Identity of this machine and its processes. Independent of the wall clock, which may change.

Host, boot, pid and start time identify a process permanently. Two containers with the same host name see different
processes, so the boot id includes the container's process namespace.
"""

from __future__ import annotations

import os
import socket
import subprocess
from functools import cache
from pathlib import Path

import psutil

UNKNOWN = "unknown"
SYSCTL = "/usr/sbin/sysctl"
DEAD = ("Z", "X")
DEAD_STATES = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@cache
def host() -> str:
    return socket.gethostname()


@cache
def boot_id() -> str:
    """Identify one boot of one machine, and one process namespace (container) on it. UNKNOWN if the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return _boot_session()
    return f"{boot}/{''.join(filter(str.isdigit, space))}"


def _boot_session() -> str:
    """Return the id that macOS assigns to each boot."""
    try:
        answer = subprocess.run(  # noqa: S603  # a constant command
            [SYSCTL, "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return answer.stdout.strip() or UNKNOWN


def started(pid: int) -> float | None:
    """Return the start time of a process, in seconds since the boot (Linux), else since the epoch.

    None if there is no such process, or only a zombie.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return _started_by_psutil(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in DEAD else int(fields[18]) / os.sysconf("SC_CLK_TCK")


def _started_by_psutil(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def is_gone(at_host: str, boot: str, pid: int, began: float) -> bool:
    """Return whether a process has certainly ended: it was in this kernel's process table, and no longer is.

    False for a process of another host, container or boot. Two machines may have the same host name, so another boot
    id is no evidence of a restart.
    """
    if at_host != host() or boot != boot_id() or boot == UNKNOWN:
        return False
    now = started(pid)
    return now is None or abs(now - began) > 1.0
