"""What the group says of itself to others: a status file, replaced whole at each change, and a lock while it is up.

The file outlives a group that was killed: whether its group still is, the process says, not the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypedDict

import psutil

from athanor.up.process import Process, end_all, wait_gone

CLOCK_TOLERANCE_S = 2.0
"""Start times of processes are compared with so much patience: they are computed from the wall clock."""


class ProcessStatus(TypedDict):
    """One process of the group, as `up --status --json` shows it."""

    role: str
    pid: int | None
    state: str
    since: str
    restarts: int
    log_file: str
    born: float | None


class GroupStatus(TypedDict):
    """The content of up.json."""

    up: bool
    pid: int | None
    born: float | None
    since: str | None
    url: str | None
    processes: list[ProcessStatus]


class AlreadyUp(Exception):
    """Another group holds the lock of this folder."""


@dataclass
class Files:
    """The files by which a group is known in a var folder."""

    var: Path

    @property
    def status(self) -> Path:
        return self.var / "up.json"

    @property
    def lock(self) -> Path:
        return self.var / "up.lock"


def acquire(files: Files) -> IO[str]:
    """Take the lock, which is held until the file is closed or the process has ended. Raises AlreadyUp."""
    file = files.lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        stored = read(files)
        by = f" by process {stored['pid']}" if stored else ""
        raise AlreadyUp(
            f"Athanor is already up in {files.var}{by}. `./manage.py up --status` shows it;"
            " ATHANOR_VAR=/another/folder makes room for a second one."
        ) from None
    return file


def current(files: Files) -> GroupStatus:
    """The status as it is now, from whichever process."""
    stored = read(files)
    if stored and alive(stored["pid"], stored["born"]):
        return stored
    return GroupStatus(up=False, pid=None, born=None, since=None, url=None, processes=[])


def read(files: Files) -> GroupStatus | None:
    """The stored status, which may be of a group that is gone; None if there is none."""
    try:
        stored: GroupStatus = json.loads(files.status.read_text())
    except (OSError, ValueError):
        return None
    return stored


class Publisher:
    """Writes the status file. A full disk must not end the group: a failed write is left out, the next one may do."""

    def __init__(self, files: Files, url: str) -> None:
        self._files, self._url = files, url
        self._since = datetime.now(UTC).isoformat()

    def __call__(self, processes: Sequence[Process]) -> None:
        status = GroupStatus(
            up=True,
            pid=os.getpid(),
            born=_born(os.getpid()),
            since=self._since,
            url=self._url,
            processes=[_described(process) for process in processes],
        )
        draft = self._files.status.with_name("up.json.new")
        with suppress(OSError):
            draft.write_text(json.dumps(status, indent=1))
            draft.replace(self._files.status)

    def withdraw(self) -> None:
        with suppress(OSError):
            self._files.status.unlink(missing_ok=True)


def _described(process: Process) -> ProcessStatus:
    return ProcessStatus(
        role=process.role.name,
        pid=process.pid,
        state=process.state.value,
        since=process.since.isoformat(),
        restarts=process.restarts,
        log_file=str(process.log_file),
        born=_born(process.pid),
    )


def _born(pid: int | None) -> float | None:
    try:
        return psutil.Process(pid).create_time() if pid else None
    except psutil.NoSuchProcess:
        return None


def end_leftovers(files: Files) -> int:
    """End the processes of a group that was killed; for the holder of the lock. Returns how many there were."""
    stored = read(files)
    entries = stored["processes"] if stored else []
    left = [found for entry in entries if (found := alive(entry["pid"], entry["born"]))]
    end_all(left, signal.SIGTERM)
    end_all(wait_gone(left, 0), signal.SIGKILL)
    return len(left)


def alive(pid: int | None, born: float | None) -> psutil.Process | None:
    """The living process of a stored entry; a number that was given to another process meanwhile does not count."""
    if pid is None or born is None:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < CLOCK_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
