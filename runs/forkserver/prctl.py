"""Features of Linux: die with the parent, adopt orphans, be killed first when memory runs out.

On other platforms these functions do nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PARENT_GONE = signal.SIGHUP
"""Sent by the kernel to keeper and server when their parent dies."""

IS_LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_GET_NAME = 16
_PTRACE_DETACH = 17
_M_ARENA_MAX = -8
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def signal_at_parent_death(number: int) -> None:
    """Make the kernel send `number` to this process when the thread that forked it ends. Not inherited by a fork."""
    if IS_LINUX:
        _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans(adopts: bool = True) -> None:
    """Make this process the parent of every orphaned descendant, whatever its session, or leave them to another."""
    if IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, int(adopts))


def prefer_as_oom_victim(score: int = 500) -> None:
    """Make the kernel's out-of-memory killer choose this process and its descendants before the worker."""
    if IS_LINUX:
        with suppress(OSError):
            fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            try:
                os.write(fd, b"%d" % score)
            finally:
                os.close(fd)


def rename(name: str) -> None:
    """Give this thread a name of at most 15 bytes, which is that of the process if it has one thread."""
    if IS_LINUX:
        _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Give this thread a name of at most 15 bytes, which is that of the process if it has one thread, in the block."""
    if not IS_LINUX:
        yield
        return
    before = ctypes.create_string_buffer(16)
    _libc.prctl(_PR_GET_NAME, before, 0, 0, 0)
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    try:
        yield
    finally:
        _libc.prctl(_PR_SET_NAME, before, 0, 0, 0)


def limit_arenas(count: int) -> None:
    """Let the threads of this process share `count` arenas of the C library's allocator. Each would keep its own, and
    with it a megabyte that it has freed.
    """
    if IS_LINUX and hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, count)


def stop_tracing(pid: int, number: int) -> None:
    """Continue a process that asked its parent to trace it (PTRACE_TRACEME), with the signal that stopped it.

    SIGTRAP is dropped: the kernel sends it to the tracer at each exec.
    """
    if IS_LINUX:
        _libc.ptrace(_PTRACE_DETACH, pid, None, ctypes.c_long(0 if number == signal.SIGTRAP else number))


def capabilities() -> int:
    """Return the capabilities that this process has, may acquire or may pass on, as bits."""
    with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123  # also for a process without a home
        lines = file.read().splitlines()
    kinds = (b"CapInh:", b"CapPrm:", b"CapEff:", b"CapAmb:")
    bits = 0
    for kind, value in (line.split(maxsplit=1) for line in lines if line.startswith(kinds)):
        bits |= int(value, 16) if kind in kinds else 0
    return bits


def has_capability(number: int) -> bool:
    """Return whether this process has a capability, by its number in <linux/capability.h>."""
    return IS_LINUX and bool(capabilities() >> number & 1)


def drop_capabilities() -> None:
    """Drop all capabilities of this process permanently. A change of the user alone keeps them unless it was root."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if _libc.capset(header, sets) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def forbid_new_privileges() -> None:
    """Keep programs that this process executes from gaining privileges, for example by set-user-id bits. Inherited."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(value: bool) -> None:
    """Set whether other processes of the same user may trace this one and read its memory. Inherited by forks."""
    if IS_LINUX:
        _prctl(_PR_SET_DUMPABLE, int(value))


def flush_c_output() -> None:
    """Flush the output buffers of C code."""
    _libc.fflush(None)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
