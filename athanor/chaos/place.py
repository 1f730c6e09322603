"""Throwaway stack: a folder with its Redis, its database, and a group of processes started by `up`.

Everything is below one folder and ends with the process that created it. If that is killed, the kernel ends the rest
(Linux).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from athanor.embedded.postgres import PostgresServer
from athanor.embedded.server import free_port
from athanor.up import status
from athanor.up.process import PARENT_DEATH, Role, last_lines, wait_for_exit

BASE = Path(__file__).resolve().parent.parent.parent
DATABASE = "athanor"
START_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 60.0

SHORT: dict[str, str] = {
    "ATHANOR_RUNS_LEASE_S": "4",
    "ATHANOR_RUNS_HEARTBEAT_S": "0.5",
    "ATHANOR_RUNS_LEASE_MARGIN_S": "1.5",
    "ATHANOR_RUNS_RECONCILE_EVERY_S": "0.5",
    "ATHANOR_RUNS_DRAIN_S": "2",
    "ATHANOR_RUNS_FLUSH_EVERY_S": "0.3",
    "ATHANOR_RUNS_FLUSH_BATCH": "500",
    "ATHANOR_RUNS_FLUSH_LOCK_S": "3",
    "ATHANOR_RUNS_LIST_MAX": "2000",
    "ATHANOR_RUNS_WINDOW_MAX_LINES": "4000",
    "ATHANOR_RUNS_PUSH_BATCH": "200",
}
"""Settings with short times and small buffers."""


class PlaceFailed(Exception):
    """Raised if the throwaway stack does not start. The message gives the reason."""


def new_folder() -> Path:
    """Create a folder with a path that is short enough for a unix socket, and that the database's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="athanor-chaos-", dir="/tmp"))  # created by mkdtemp
    folder.chmod(0o711)
    return folder


def environment(folder: Path, database: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all processes of the stack, without variables of the user's own stack.

    Pure, except for the choice of a port.
    """
    inherited = {name: value for name, value in environ.items() if not name.startswith("ATHANOR_")}
    path = [str(BASE / "athanor" / "chaos" / "patches"), str(BASE), *filter(None, [environ.get("PYTHONPATH")])]
    own = {
        **SHORT,
        **{name: value for name, value in environ.items() if name in SHORT},
        "ATHANOR_VAR": str(folder / "var"),
        "ATHANOR_RUNS_VARIABLES": "CHAOS_*,ATHANOR_READY_FILE",  # so that the fork server has the patches, too
        "CHAOS_CLOCKS": str(folder / "clocks"),
        "DJANGO_SETTINGS_MODULE": "athanor.settings",
        "PYTHONPATH": os.pathsep.join(path),
    }
    if database == "postgresql":
        own["ATHANOR_DATABASE_URL"] = PostgresServer(folder / "postgres").url(DATABASE)
    return {**inherited, **own}


class Place:
    """Stack of a folder. The process needs the variables that `environment` returns."""

    def __init__(self, folder: Path, *, workers: int, slots: int) -> None:
        self.folder, self._workers, self._slots = folder, workers, slots
        self.clocks = folder / "clocks"
        self.postgres = self._postgres()
        self._up: subprocess.Popen[bytes] | None = None
        self._beside: list[subprocess.Popen[bytes]] = []

    def _postgres(self) -> PostgresServer | None:
        from django.conf import settings

        database = settings.DATABASES["default"]
        if not database["ENGINE"].endswith("postgresql"):
            return None
        return PostgresServer(self.folder / "postgres", int(database["PORT"]))

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    def start(self) -> None:
        """Start everything and wait until it is up. Raises PlaceFailed, ServerMissing, ServerFailed."""
        self.clocks.mkdir(exist_ok=True)
        if self.postgres:
            self.postgres.start()
            self.postgres.create_database(DATABASE)
        prefix = (sys.executable, "-I", "-S", str(PARENT_DEATH), str(int(signal.SIGTERM)), str(os.getpid()))
        arguments = ("--workers", str(self._workers), "--slots", str(self._slots), "--port", str(free_port()))
        with self.log.open("ab") as log:
            self._up = subprocess.Popen(  # noqa: S603  # Athanor's own command
                [*prefix, sys.executable, "-m", "django", "up", "--no-demo", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_up():
            if self._up.poll() is not None or time.monotonic() > deadline:
                raise PlaceFailed("The throwaway stack does not start:\n" + "\n".join(last_lines(self.log)))
            time.sleep(0.1)

    def _is_up(self) -> bool:
        return status.all_running(status.Files(self.folder / "var"))

    def start_beside(self, role: Role) -> subprocess.Popen[bytes]:
        """Start a process outside of the group. It does not outlive the process that created the stack."""
        prefix = (sys.executable, "-I", "-S", str(PARENT_DEATH), str(int(signal.SIGKILL)), str(os.getpid()))
        with (self.folder / "beside.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # Athanor's own commands
                [*prefix, *role.command], env=os.environ | role.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self._beside.append(process)
        return process

    def stop(self) -> None:
        """Stop everything, in order if possible."""
        for process in self._beside:
            process.kill()
            process.wait()
        if self._up is not None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        if self.postgres:
            self.postgres.stop()

    def survivors(self, patience_s: float = 3.0) -> list[psutil.Process]:
        """Return living processes of the stack. Call this after `stop`."""
        return wait_for_exit([process for process in psutil.process_iter() if self._owns(process)], patience_s)

    def _owns(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            is_ours = process.environ().get("ATHANOR_VAR") == str(self.folder / "var")
            return is_ours and process.pid != os.getpid()
        return False

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
