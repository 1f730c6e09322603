"""Shutdown of a process of an experiment, in the order of a Python interpreter: executors and non-daemon threads first,
then exit functions, which join processes.

The experiment's own process waits at most for a limit. Meanwhile another thread calls `check`, which logs what the
process waits for and, at the limit, logs what was still running and exits. If C code holds the interpreter's lock, so
that this thread cannot run, faulthandler's timer ends the process.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from runs.child import remains
from runs.child.clocks import CLOCKS
from runs.child.control import Control
from runs.child.interrupts import Interrupts
from runs.child.pipe import PipeClosed, RecordPipe
from runs.lines.records import End
from runs.states import Level, Source

LOGGED_AFTER_S = 1.0
"""A shorter wait is not logged."""
HARD_LIMIT_EXTRA_S = 10.0
"""Time after the limit at which faulthandler ends a process that `check` could not end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that an ending process may take."""

    wait_s: float
    hurried_wait_s: float
    """Limit from a cancel on, or from the notice that the worker stops."""


class Shutdown:
    """Shutdown of an experiment's process. The main thread calls `run`, the thread of the control pipe `check`."""

    def __init__(
        self, pipe: RecordPipe, control: Control, interrupts: Interrupts, limits: Limits, stacks: IO[Any] | None
    ) -> None:
        self._pipe, self._control, self._interrupts, self._limits = pipe, control, interrupts, limits
        self._stacks = stacks
        self._started_at: float | None = None
        self._hurried_at: float | None = None
        self._interrupts_before = 0
        self._waited_for = ""
        self._finish: Callable[[], None] = lambda: None
        self._once = threading.Lock()

    def run(self, finish: Callable[[], None]) -> None:
        """Wait for all that runs in this process, then call `finish`. At the limit, `check` does so and exits."""
        pid = os.getpid()
        self._finish = finish
        self._interrupts_before = self._interrupts.count
        self._started_at = CLOCKS.monotonic()
        self._set_hard_limit()
        finalize()
        if os.getpid() != pid:  # an exit function has forked; this is the new process
            return
        if not self._once.acquire(blocking=False):
            threading.Event().wait()  # the other thread is ending the process
        if self._waited_for:
            self._log(Level.INFO, f"Waited {self._waited_s():.0f} s for {self._waited_for}")
        self._log_remains()
        finish()

    def check(self) -> None:
        """Log a long wait. At the limit, end the process."""
        if self._started_at is None:
            return
        waited_s = self._waited_s()
        if self._is_over() and self._once.acquire(blocking=False):
            self._log(Level.WARNING, f"Waited {waited_s:.0f} s after the end of run() and stopped {_working()}")
            self._log_remains()
            self._finish()
            os._exit(0)
        if waited_s >= LOGGED_AFTER_S and not self._waited_for:
            self._waited_for = _working()
            self._log(Level.INFO, f"run() has ended. Waiting up to {self._limits.wait_s:g} s for {self._waited_for}")

    def _is_over(self) -> bool:
        now = CLOCKS.monotonic()
        if self._hurried_at is None and (self._control.cancelled or self._control.stopping):
            self._hurried_at = now
        hurried = self._hurried_at is not None and now >= self._hurried_at + self._limits.hurried_wait_s
        interrupted = self._interrupts.count > self._interrupts_before
        return hurried or interrupted or self._waited_s() >= self._limits.wait_s

    def _waited_s(self) -> float:
        return 0.0 if self._started_at is None else CLOCKS.monotonic() - self._started_at

    def _log_remains(self) -> None:
        if processes := remains.processes():
            self._log(Level.WARNING, f"Ended {remains.counted('process', processes)} still running at the end")

    def _log(self, level: Level, message: str) -> None:
        with suppress(PipeClosed):
            self._pipe.line(level.value, Source.SYSTEM.value, message)

    def _set_hard_limit(self) -> None:
        with suppress(Exception):
            after_s = self._limits.wait_s + HARD_LIMIT_EXTRA_S
            faulthandler.dump_traceback_later(after_s, exit=True, file=2 if self._stacks is None else self._stacks)


def finalize() -> None:
    """Wait for executors and non-daemon threads, then run exit functions. Never raises."""
    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]  # no public name
        try:
            step()
        except BaseException:  # signal handlers of the experiment may raise anything
            with suppress(BaseException):
                traceback.print_exc()


def exit_status(end: End) -> int:
    """Print the error of a process that the experiment forked, as an interpreter does. Return the exit status."""
    code = end.get("exit_code", 1)
    error = end.get("traceback") or end.get("error", "")
    if end["outcome"] == "returned":
        return 0
    if end["outcome"] != "exited":
        code = 1
    elif error == f"sys.exit({code})":
        error = ""
    if error:
        sys.stderr.write(error if error.endswith("\n") else f"{error}\n")
    return code & 0xFF


def _working() -> str:
    """Describe what the process waits for: threads, processes, or else an exit function."""
    threads = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    parts = [remains.counted("thread", threads)] if threads else []
    if processes := remains.multiprocessing_children():
        parts.append(remains.counted("process", processes))
    return " and ".join(parts) or f"the exit function {_exit_function()}"


def _exit_function() -> str:
    """Describe the function that `finalize` is calling in the main thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and (above := frame.f_back) is not None and above.f_code is not finalize.__code__:
        frame = above
    if frame is None:
        return "of the interpreter"
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
