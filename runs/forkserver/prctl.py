"""What only Linux can: die with the parent, adopt orphans, be the first to go when memory ends. Elsewhere nothing
happens.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PARENT_GONE = signal.SIGHUP
"""What keeper and server are sent by the kernel when the process above them is gone."""

IS_LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PTRACE_DETACH = 17
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def signal_at_parents_end(number: int) -> None:
    """Have the kernel send `number` to this process when the thread that made it ends. Not inherited by a fork."""
    if IS_LINUX:
        _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that loses its own, whichever session it went to."""
    if IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prefer_for_oom_kill(score: int = 500) -> None:
    """Make the kernel's out-of-memory killer choose this process, and those that it starts, before the worker."""
    if IS_LINUX:
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(score))


def stop_tracing(pid: int, number: int) -> None:
    """Let a process that asked its parent to trace it (PTRACE_TRACEME) go on, with the signal that stopped it.

    The trap that the kernel sends at an exec is meant for the tracer, and is dropped.
    """
    if IS_LINUX:
        _libc.ptrace(_PTRACE_DETACH, pid, None, ctypes.c_long(0 if number == signal.SIGTRAP else number))


def flush_c_output() -> None:
    """Write out what C code has printed and not flushed."""
    _libc.fflush(None)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
