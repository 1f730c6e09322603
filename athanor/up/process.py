"""One process of the group: how it is started, watched and ended. Knows nothing of what it runs."""

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

from experiments.signal_names import signal_name

LEASH = Path(__file__).with_name("leash.py")
LOG_MAX_BYTES = 10 * 1024 * 1024
"""A larger log is moved to `<name>.log.1`, in place of the one before."""
SETTLED_S = 5.0
"""A process that lived for so long is restarted at once when it dies."""
BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Wait before the first, second … restart of a process that does not settle; the last one for all that follow."""

ORPHANS_PATIENCE_S = 2.0
"""So long after a process ended, what it had started may take to end too."""


class State(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    """It did not stop in time."""


def always() -> bool:
    return True


@dataclass(frozen=True)
class Role:
    """What one process of the group is for."""

    name: str
    command: tuple[str, ...]
    rank: int = 0
    """Ranks are started upwards, each when the one below is ready if that is a `gate`, and stopped downwards."""
    gate: bool = False
    ready: Callable[[], bool] = always
    """Asked again and again after a start; answers within a second."""
    stop_timeout_s: float = 10.0
    """So long after SIGTERM, SIGKILL."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the group's own process is gone."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_file: Path | None = None
    """Removed before each start, so that `ready` does not see the one of an earlier incarnation."""


class Process:
    """The process of a role, in its present and later incarnations. Not thread-safe."""

    def __init__(self, role: Role, log_file: Path) -> None:
        self.role = role
        self.log_file = log_file
        self.state = State.WAITING
        self.restarts = 0
        self.since = datetime.now(UTC)
        """When the state was last changed."""
        self.due = 0.0
        """Monotonic moment of the next restart."""
        self._popen: subprocess.Popen[bytes] | None = None
        self._start_error = ""
        self._started = 0.0
        self._unsettled = 0
        self._tree: list[psutil.Process] = []

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def is_alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def age_s(self) -> float:
        """Seconds since the start of this incarnation."""
        return time.monotonic() - self._started

    def enter(self, state: State) -> None:
        self.state, self.since = state, datetime.now(UTC)

    def spawn(self) -> None:
        """Start it. Call it from the thread that lives as long as the group: the kernel's leash is tied to that.

        Where the machine refuses (a full disk, no more processes or files), it is as if the process had died at once.
        """
        self._popen, self._start_error = None, ""
        self._started = time.monotonic()
        rotate_log(self.log_file)
        try:
            self._popen = self._start()
        except OSError as error:
            self._start_error = str(error)
        self.enter(State.STARTING)

    def _start(self) -> subprocess.Popen[bytes]:
        leash = (sys.executable, "-I", "-S", str(LEASH), str(int(self.role.orphan_signal)), str(os.getpid()))
        if self.role.ready_file:
            self.role.ready_file.parent.mkdir(parents=True, exist_ok=True)
            self.role.ready_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own command lines
                [*leash, *self.role.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.role.environment},
            )

    def end(self) -> str:
        """How the dead process ended, in words."""
        status = self._popen.returncode if self._popen else None
        if status is None:
            return f"could not be started ({self._start_error or 'unknown reason'})"
        return f"was ended by {signal_name(-status)}" if status < 0 else f"exited with status {status}"

    def schedule_restart(self) -> float:
        """Note its death and when it starts again; returns the seconds until then."""
        self._unsettled = 1 if self.age_s >= SETTLED_S else self._unsettled + 1
        wait_s = BACKOFF_S[min(self._unsettled, len(BACKOFF_S)) - 1]
        self.due = time.monotonic() + wait_s
        self._popen = None
        self.enter(State.RESTARTING)
        return wait_s

    def restart(self) -> None:
        self.restarts += 1
        self.spawn()

    def terminate(self) -> None:
        """Ask it to end: SIGTERM to the main process only, which looks after its own."""
        self.enter(State.STOPPING)
        self._tree = self._descendants()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._tree += self._descendants()
        self._signal(signal.SIGKILL)

    def bury(self) -> None:
        """After its end: end what it had started too, at once if it was killed, else when it had its moment."""
        killed = self._popen is not None and self._popen.wait() == -signal.SIGKILL
        end_all(wait_gone(self._tree, 0 if killed else ORPHANS_PATIENCE_S), signal.SIGKILL)
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


def end_all(processes: Iterable[psutil.Process], number: signal.Signals, patience_s: float = 5.0) -> None:
    """Signal processes that are not our children, and wait until they are gone."""
    signalled = list(processes)
    for process in signalled:
        with suppress(psutil.Error):
            process.send_signal(number)
    wait_gone(signalled, patience_s)


def wait_gone(processes: Sequence[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Wait for the end of processes that are not our children; those that are still there after `patience_s`.

    A zombie is gone: in a container nobody may reap it.
    """
    deadline = time.monotonic() + patience_s
    while (left := [process for process in processes if _lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def rotate_log(path: Path) -> None:
    """Move a log that has grown large to `<name>.1`, also while its process appends to it. Never raises.

    Where there is no room for the copy (a full disk), the log is emptied without one: it would only grow.
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
    """The end of a log file, for people."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - within_bytes))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
