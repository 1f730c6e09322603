"""Status of the group for other processes: a file that is replaced at each change, and a lock while the group runs.

The file outlives a group that was killed. Readers check whether the process that wrote it is still alive.
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

from athanor.up.process import Process, State, end_all, wait_for_exit

CLOCK_TOLERANCE_S = 2.0
"""Tolerance when start times of processes are compared: they are computed from the wall clock."""


class ProcessStatus(TypedDict):
    """One process of the group, as `up --status --json` shows it."""

    role: str
    pid: int | None
    state: str
    since: str
    restarts: int
    log_file: str
    create_time: float | None


class GroupStatus(TypedDict):
    """Content of up.json."""

    up: bool
    pid: int | None
    create_time: float | None
    since: str | None
    url: str | None
    processes: list[ProcessStatus]


class AlreadyUp(Exception):
    """Raised if another group holds the lock of this folder."""


@dataclass
class Files:
    """Files of a group in its var folder."""

    var: Path

    @property
    def status(self) -> Path:
        return self.var / "up.json"

    @property
    def lock(self) -> Path:
        return self.var / "up.lock"


def acquire(files: Files) -> IO[str]:
    """Take the lock, which is held until the file is closed or the process ends. Raises AlreadyUp."""
    file = files.lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        stored = read(files)
        owner = f" (process {stored['pid']})" if stored else ""
        raise AlreadyUp(
            f"Athanor is already up in {files.var}{owner}. `./manage.py up --status` shows it."
            " To start it again with other settings, stop it first with Ctrl-C."
            " To run a second one, set ATHANOR_VAR to another folder."
        ) from None
    return file


def current(files: Files) -> GroupStatus:
    """Return the status of the group that runs now; `up` is False if there is none."""
    stored = read(files)
    if stored and alive(stored.get("pid"), stored.get("create_time")):
        return stored
    return GroupStatus(up=False, pid=None, create_time=None, since=None, url=None, processes=[])


def all_running(files: Files) -> bool:
    """Return whether a group is up and all its processes are running."""
    now = current(files)
    return now["up"] and all(entry["state"] == State.RUNNING for entry in now["processes"])


def read(files: Files) -> GroupStatus | None:
    """Return the stored status, perhaps of a group that no longer runs; None if there is none."""
    try:
        stored: GroupStatus = json.loads(files.status.read_text())
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) else None


class Publisher:
    """Write the status file. A failed write (full disk) is skipped: it must not end the group."""

    def __init__(self, files: Files, url: str) -> None:
        self._files, self._url = files, url
        self._since = datetime.now(UTC).isoformat()

    def __call__(self, processes: Sequence[Process]) -> None:
        status = GroupStatus(
            up=True,
            pid=os.getpid(),
            create_time=_create_time(os.getpid()),
            since=self._since,
            url=self._url,
            processes=[_process_status(process) for process in processes],
        )
        draft = self._files.status.with_name("up.json.new")
        with suppress(OSError):
            draft.write_text(json.dumps(status, indent=1))
            draft.replace(self._files.status)

    def remove(self) -> None:
        """Remove the status file."""
        with suppress(OSError):
            self._files.status.unlink(missing_ok=True)


def _process_status(process: Process) -> ProcessStatus:
    return ProcessStatus(
        role=process.role.name,
        pid=process.pid,
        state=process.state.value,
        since=process.since.isoformat(),
        restarts=process.restarts,
        log_file=str(process.log_file),
        create_time=_create_time(process.pid),
    )


def _create_time(pid: int | None) -> float | None:
    try:
        return psutil.Process(pid).create_time() if pid else None
    except psutil.NoSuchProcess:
        return None


def kill_orphans(files: Files) -> int:
    """End the processes of a group that was killed; return their number. Call this while holding the lock."""
    stored = read(files)
    entries = stored["processes"] if stored else []
    orphans = [process for entry in entries if (process := alive(entry.get("pid"), entry.get("create_time")))]
    end_all(orphans, signal.SIGTERM)
    end_all(wait_for_exit(orphans, 0), signal.SIGKILL)
    return len(orphans)


def alive(pid: int | None, create_time: float | None) -> psutil.Process | None:
    """Return the living process of a stored entry; None if its pid now belongs to another process."""
    if pid is None or create_time is None:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - create_time) < CLOCK_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
