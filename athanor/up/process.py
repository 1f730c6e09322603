"""One process of the group: start, check, stop. Independent of what the process runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import psutil

from athanor.up import fork
from athanor.up.fork import Fork
from experiments.signal_names import signal_name
from experiments.umask import PRIVATE_FOLDER

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
LOG_MAX_BYTES = 10 * 1024 * 1024
"""A larger log is moved to `<name>.log.1`, which replaces the previous one."""
STABLE_S = 5.0
"""A process that ran for this long is restarted at once when it dies."""
BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Wait before the first, second … restart in a row of a process that dies early; the last value repeats."""

ORPHANS_TIMEOUT_S = 2.0
"""Seconds that the descendants of a process may take to exit after it, before they are killed."""


class State(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    """Ended by SIGKILL while the group stopped, such as after `stop_timeout_s`."""


def always() -> bool:
    return True


@dataclass(frozen=True)
class Role:
    """Description of one process of the group."""

    name: str
    command: tuple[str, ...]
    program: Callable[[], int] | None = None
    """Executed by a fork of this process instead of the command, where that is safe. Its result is the exit status."""
    rank: int = 0
    """Ranks start in ascending order and stop in descending order. The next rank waits until every `gate` is ready."""
    gate: bool = False
    ready: Callable[[], bool] = always
    """Polled after each start; returns within a second."""
    stop_timeout_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """Sent by the kernel when the group's own process dies."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_file: Path | None = None
    """Removed before each start, so that `ready` does not see the file of an earlier process."""


class Process:
    """Current process of a role, and its replacements. Not thread-safe."""

    def __init__(self, role: Role, log_file: Path) -> None:
        self.role = role
        self.log_file = log_file
        self.state = State.WAITING
        self.restarts = 0
        self.since = datetime.now(UTC)
        """Time of the last change of state."""
        self.due = 0.0
        """Monotonic time of the next restart."""
        self.may_fork = True
        self._popen: subprocess.Popen[bytes] | Fork | None = None
        self._start_error = ""
        self._started = 0.0
        self._early_deaths = 0
        self._tree: list[psutil.Process] = []

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def is_alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def age_s(self) -> float:
        """Seconds since the start of the current process."""
        return time.monotonic() - self._started

    def enter(self, state: State) -> None:
        self.state, self.since = state, datetime.now(UTC)

    def spawn(self) -> None:
        """Start the process. Call this from the thread that lives as long as the group: the kernel's
        parent-death signal is bound to it.

        A start that the machine refuses (full disk, no more processes or files) counts as a process that died at once.
        """
        self._popen, self._start_error = None, ""
        self._started = time.monotonic()
        rotate_log(self.log_file)
        try:
            self._popen = self._start()
        except OSError as error:
            self._start_error = str(error)
        self.enter(State.STARTING)

    def _start(self) -> subprocess.Popen[bytes] | Fork:
        role = self.role
        if role.ready_file:
            role.ready_file.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
            role.ready_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            if role.program is not None and self.may_fork and fork.is_safe():
                return Fork(
                    role.program,
                    name=role.name,
                    log=log.fileno(),
                    environment=role.environment,
                    orphan_signal=role.orphan_signal,
                )
            prefix = (sys.executable, "-I", "-S", str(PARENT_DEATH), str(int(role.orphan_signal)), str(os.getpid()))
            return subprocess.Popen(  # noqa: S603  # Athanor's own command lines
                [*prefix, *role.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **role.environment},
            )

    def end(self) -> str:
        """Describe how the dead process ended."""
        status = self._popen.returncode if self._popen else None
        if status is None:
            return f"could not be started ({self._start_error or 'unknown reason'})"
        return f"was killed by {signal_name(-status)}" if status < 0 else f"exited with status {status}"

    def schedule_restart(self) -> float:
        """Record the death and plan the restart; return the seconds until then."""
        self._early_deaths = 1 if self.age_s >= STABLE_S else self._early_deaths + 1
        wait_s = BACKOFF_S[min(self._early_deaths, len(BACKOFF_S)) - 1]
        self.due = time.monotonic() + wait_s
        self._popen = None
        self.enter(State.RESTARTING)
        return wait_s

    def restart(self) -> None:
        self.restarts += 1
        self.spawn()

    def terminate(self) -> None:
        """Send SIGTERM to the main process only; it stops its own children."""
        self.enter(State.STOPPING)
        self._tree = self._descendants()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._tree += self._descendants()
        self._signal(signal.SIGKILL)

    def reap(self) -> None:
        """Collect the exit status and kill remaining descendants: at once after a SIGKILL, else after a timeout."""
        killed = self._popen is not None and self._popen.wait() == -signal.SIGKILL
        end_all(wait_for_exit(self._tree, 0 if killed else ORPHANS_TIMEOUT_S), signal.SIGKILL)
        self._popen, self._tree = None, []
        self.enter(State.KILLED if killed else State.STOPPED)

    def _descendants(self) -> list[psutil.Process]:
        if not self.is_alive:
            return []
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _signal(self, number: signal.Signals) -> None:
        if self._popen and self.is_alive:
            self._popen.send_signal(number)


def end_all(processes: Iterable[psutil.Process], number: signal.Signals, timeout_s: float = 5.0) -> None:
    """Signal processes that need not be children of this one, and wait until they are gone."""
    targets = list(processes)
    for process in targets:
        with suppress(psutil.Error):
            process.send_signal(number)
    wait_for_exit(targets, timeout_s)


def wait_for_exit(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait for processes that need not be children of this one; return those that remain after `timeout_s`.

    A zombie counts as gone: in a container it may never be reaped.
    """
    deadline = time.monotonic() + timeout_s
    while (remaining := [process for process in processes if _is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return remaining


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def rotate_log(path: Path) -> None:
    """Move a log that has grown large to `<name>.1`, while its process keeps appending to it. Never raises.

    If the copy fails (full disk), empty the log without one: it would keep growing.
    """
    try:
        if path.stat().st_size <= LOG_MAX_BYTES:
            return
    except OSError:
        return
    older = path.with_name(f"{path.name}.1")
    try:
        older.unlink(missing_ok=True)
        shutil.copyfile(path, older)
    except OSError:
        with suppress(OSError):
            older.unlink(missing_ok=True)
    with suppress(OSError):
        os.truncate(path, 0)


def last_lines(path: Path, count: int = 15, within_bytes: int = 16_384) -> list[str]:
    """Return the last lines of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - within_bytes))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
