"""Fork of this process that executes a function: it shares the memory of all that this process has loaded.

Fork only where `is_safe`. A fork keeps nothing else of this process: it has its own session, standard streams,
signal handlers and environment, and no other open file.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from runs.forkserver import prctl

OPEN_FILES_MAX = 1 << 20


def is_safe() -> bool:
    """Return whether this process may fork: on Linux, and with one thread. A lock that another one holds would stay
    locked in the fork.
    """
    return prctl.IS_LINUX and len(list(Path("/proc/self/task").iterdir())) == 1


def result_of(function: Callable[[], str]) -> str:
    """Return the result of a function that a fork executes, so that this process keeps none of its memory.

    Raises SystemExit if the function does not return; the fork prints its error. Call it where `is_safe`.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(write, function().encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    if status := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(abs(status))
    return text


class Fork:
    """Forked process, with the methods of `subprocess.Popen` that the group needs."""

    def __init__(
        self, program: Callable[[], int], *, name: str, log: int, environment: Mapping[str, str], orphan_signal: int
    ) -> None:
        """Fork, and execute `program` in the fork; its result is the exit status. Raises OSError."""
        self.returncode: int | None = None
        gc.collect()
        gc.freeze()  # the first collection of the fork copies no page of what is loaded
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _live(program, lambda: _detach(parent, name, log, environment, orphan_signal))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        while (status := self._wait(0)) is None:
            pass
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal; do nothing if the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _live(program: Callable[[], int], detach: Callable[[], None]) -> NoReturn:
    """Execute the program, and end as an interpreter does."""
    status = 1
    try:
        detach()
        status = program()
    except SystemExit as error:
        status = _status(error)
    except BaseException:
        traceback.print_exc()
    finally:
        for step in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]  # no public names
            with suppress(BaseException):
                step()
        os._exit(status & 0xFF)


def _status(error: SystemExit) -> int:
    """Return the exit status, and print a message, as an interpreter does."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1


def _detach(parent: int, name: str, log: int, environment: Mapping[str, str], orphan_signal: int) -> None:
    os.setsid()
    prctl.signal_at_parent_death(orphan_signal)
    if os.getppid() != parent:
        raise SystemExit("The parent process ended before its child started.")
    prctl.rename(name)
    _redirect(log)
    os.environ.update(environment)
    random.seed()
    _reset_signals()


def _redirect(log: int) -> None:
    """Read from /dev/null, print to the log at once, and close everything else."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.closerange(3, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], OPEN_FILES_MAX))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]  # not None: just replaced


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
