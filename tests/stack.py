"""Athanor's own processes on the tests' ground: workers and beat as sub-processes that can be ended in every way.

Nothing here touches what it did not start. Each process has a log file of its own, which a failed start shows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from tests.servers import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from runs.models import Run

QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
READY_MAX_S = 120
"""Age at a run's creation of the oldest process that may execute it: it was kept ready."""
WORKER = ("worker", "-P", "threads", "-l", "INFO", *QUIET)


class Process:
    """One process of the stack."""

    program: ClassVar[tuple[str, ...]] = (sys.executable, "-m", "celery", "-A", "athanor")

    def __init__(self, name: str, arguments: tuple[str, ...], folder: Path, environ: Mapping[str, str]) -> None:
        self.name, self._arguments, self._folder = name, arguments, folder
        self._environ = dict(environ)
        self._ready = folder / f"{name}.ready"
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Process:
        """Start it, and with `wait` return when it has begun its work."""
        self._ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.program, *self._arguments],
                env={**os.environ, **self._environ, "ATHANOR_READY_FILE": str(self._ready)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_for_ready()
        return self

    def wait_for_ready(self) -> None:
        wait_until(self._is_ready, timeout_s=60, what=f"{self.name} to be ready")

    def _is_ready(self) -> bool:
        if not self.is_running:
            raise AssertionError(f"{self.name} ended at its start:\n{self.log.read_text(errors='replace')[-3000:]}")
        return self.answers()

    def answers(self) -> bool:
        """Return whether it is ready."""
        return self._ready.exists()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tree(self) -> list[psutil.Process]:
        """Return the process and everything below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        return []

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to this one process, as the kernel's out-of-memory killer does it."""
        if self.is_running:
            self.send(signal.SIGKILL)
            self.wait()

    def stop(self, timeout_s: float = 60.0) -> None:
        """SIGTERM, as a service manager does it, and wait."""
        if self.is_running:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)


class Web(Process):
    """Web application on a separate port."""

    program = (sys.executable, "-m", "uvicorn", "--no-proxy-headers", "athanor.asgi:application")

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(self._arguments[-1])), 1):
            return True
        return False


class Stack:
    """Processes that share a folder and an environment. Use it as a context manager: none outlives it."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder, self.environ = folder, environ
        self.together = False
        self.processes: list[Process] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *error: object) -> None:
        for process in reversed(self.processes):
            try:
                process.stop()
            except subprocess.TimeoutExpired:
                for each in process.tree():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
                process.wait()

    def worker(self, name: str = "runs1", *, slots: int = 4, queues: str = "runs", **environ: str) -> Process:
        return self._start(name, (*WORKER, "-c", str(slots), "-Q", queues, "-n", f"{name}@%h"), environ)

    def system(self, name: str = "system1", **environ: str) -> Process:
        return self._start(name, (*WORKER, "-c", "4", "-Q", "system", "-n", f"{name}@%h"), environ)

    def beat(self, name: str = "beat1") -> Process:
        return self._start(name, ("beat", "-l", "INFO"), {})

    def web(self, name: str = "web1") -> Process:
        return self._start(name, ("--port", str(free_port())), {}, Web)

    def whole(self, *, slots: int = 4) -> Stack:
        """A worker of runs, a system worker and a beat."""
        with self.at_once():
            self.system()
            self.worker(slots=slots)
            self.beat()
        return self

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Start the programs of the block at the same time, and wait at its end until all are ready."""
        before, self.together = len(self.processes), True
        try:
            yield
        finally:
            self.together = False
        for process in self.processes[before:]:
            process.wait_for_ready()

    def _start(
        self, name: str, arguments: tuple[str, ...], environ: Mapping[str, str], kind: type[Process] = Process
    ) -> Process:
        process = kind(name, arguments, self.folder, {**self.environ, **environ})
        self.processes.append(process)
        return process.start(wait=not self.together)


def ended(run: Run, *, timeout_s: float = 30.0) -> Run:
    """Return the run once it has ended."""

    def fresh() -> bool:
        run.refresh_from_db()
        return run.is_final

    wait_until(fresh, timeout_s=timeout_s, what=f"{run} to end")
    return run


def messages(run: Run, **filters: Any) -> list[str]:
    """Its stored lines in order."""
    return list(run.lines.filter(**filters).order_by("attempt", "seq").values_list("message", flat=True))


def processes_of(run: Run) -> list[psutil.Process]:
    """Every live process of a run: its child, those whose pid it has told, and those it started that bear its mark."""
    told = {
        *run.attempts.values_list("child_pid", flat=True),
        *run.results.filter(key="pid").values_list("value", flat=True),
    }
    return [process for process in psutil.process_iter() if _lives(process) and _is_of(process, run, told)]


def _is_of(process: psutil.Process, run: Run, told: set[Any]) -> bool:
    """By its pid or its mark: a process that was forked and executes nothing new shows its forebear's environment."""
    with contextlib.suppress(psutil.Error):
        if process.create_time() < run.created_at.timestamp() - READY_MAX_S:
            return False
        return process.pid in told or process.environ().get("ATHANOR_ATTEMPT", "").startswith(f"{run.pk}.")
    return False


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextlib.contextmanager
def frozen(process: Process) -> Iterator[None]:
    """Stop the process within the block, as a debugger or a suspended machine does."""
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)
