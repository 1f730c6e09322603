"""Which machine this is, and whether a process of it still lives. Not by the wall clock, which may be moved.

Host, boot, pid and start name a process for ever. Two containers with the same host name see different processes, so
the boot's name holds that of the container's process space as well.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

import psutil

DEAD = ("Z", "X")
DEAD_STATES = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@cache
def host() -> str:
    return socket.gethostname()


@cache
def boot_id() -> str:
    """What tells one boot of this machine, and one container on it, from another."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "unknown"  # pid and start time have to do
    return f"{boot}/{''.join(filter(str.isdigit, space))}"


def started(pid: int) -> float | None:
    """When a process began, in seconds since the boot where the system tells that (Linux), else since the epoch.

    None if there is none, or only what is left of one until its parent looks (a zombie).
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
    """Whether that process certainly lives no more. False for what another host, or another container, would know."""
    if at_host != host():
        return False
    if boot != boot_id():
        return boot.partition("/")[0] != boot_id().partition("/")[0]
    now = started(pid)
    return now is None or abs(now - began) > 1.0
