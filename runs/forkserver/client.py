"""Children from the worker's side: the fork server that starts them, and a handle for each.

User code never runs in the worker, and the worker never forks. `on_exit` is called once per child, when no process of
its tree remains, even if the fork server is killed. After a `kill -9` of the worker, the server kills everything. The
server also kills a child whose lease is not renewed in time, even if the worker is frozen.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from runs.exceptions import SpawnFailed, is_exhaustion
from runs.forkserver.account import Account
from runs.forkserver.board import Board
from runs.forkserver.pipes import Pipes
from runs.forkserver.protocol import KeepWarm, Signal, Stop
from runs.forkserver.server_process import ServerProcess, ServerStartFailed
from runs.forkserver.spec import ChildSpec, Exit, Fate

__all__ = ["Child", "ChildSpec", "Exit", "Fate", "ForkServer", "SpawnFailed"]

logger = logging.getLogger(__name__)

Deadline = Callable[[], float]
"""Returns a time on the lease clock; raises SpawnFailed if there is no lease."""

START_TIMEOUT_S = 60.0
"""Longest time for a new fork server to load Django."""
SERVERS_MAX = 3
"""Number of fork servers that may die during one spawn before it fails."""
STOP_TIMEOUT_S = 10.0
"""Longest time for the server to kill all children and exit, before it is killed."""


class Child:
    """Thread-safe handle of one child. Its read ends are non-blocking. `close` closes them and the control pipe."""

    def __init__(
        self,
        pid: int,
        number: int,
        pipes: Pipes,
        server: ServerProcess,
        spec: ChildSpec,
        start: str = "",
        account: str = "",
    ) -> None:
        self.pid = pid
        self.account = account
        """Name of its Unix user; empty for the worker's."""
        self.isolation = server.isolation
        self.start = start
        """"warm, ..." after a warm start; else why it was cold, if the experiment asks for warm starts."""
        self.records_fd, self.stdout_fd, self.stderr_fd = pipes.records, pipes.stdout, pipes.stderr
        self.stacks_path, self._experiment = spec.stacks_path, spec.experiment
        self._number, self._pipes, self._server = number, pipes, server
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Write a message to the control pipe without blocking. A dead or stuck child loses it."""
        with self._lock, suppress(OSError):
            if not self._pipes.is_closed:
                os.write(self._pipes.control, msgspec.json.encode(message) + b"\n")

    def keep_warm(self, *, is_explicit: bool) -> None:
        """Have the next runs of the same experiment start warm. `is_explicit`: it declares `warm = True`."""
        self._server.post(KeepWarm(self._experiment, is_explicit))

    def interrupt(self) -> None:
        """Raise RunCancelled in the child's main thread, if it is executing `run`. Safe to repeat."""
        self._server.post(Signal(self._number, "interrupt"))

    def request_stacks(self) -> int:
        """Make the child append the Python stacks of all its threads to `stacks_path`; return the file's previous size.

        Works even while the child hangs in C code.
        """
        try:
            size = self.stacks_path.stat().st_size
        except OSError:
            size = 0
        self._server.post(Signal(self._number, "stacks"))
        return size

    def terminate(self) -> None:
        """Send SIGTERM to the child and everything below it."""
        self._server.post(Signal(self._number, "terminate"))

    def kill(self) -> None:
        """Stop the child, kill everything below it, then the child. Safe to repeat.

        The exit is reported when no process remains.
        """
        self._server.post(Signal(self._number, "kill"))

    def close(self) -> None:
        """Close the worker's ends of the pipes. A child that is still alive then exits."""
        with self._lock:
            self._pipes.close()


class ForkServer:
    """Fork server of this worker process; the next spawn replaces one that has died. Thread-safe.

    A thread that lives as long as the worker starts it, since the kernel's parent-death signal is bound to the thread
    that forked. The same thread reads the server's answers and calls every `on_exit`.
    """

    def __init__(self, account: Account | None = None, deadlines: Board | None = None) -> None:
        """Create a server. `account`: Unix user of its children, by default the worker's. `deadlines` may be shared."""
        self.account = account
        self.deadlines = deadlines or Board.create()
        """Deadline of the child of each attempt, see runs.worker.renewer."""
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._server: ServerProcess | None = None
        self._requested = 0  # number of requests for a server
        self._failure: SpawnFailed | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the server and wait until it is ready (about 0.3 s). Does nothing if it is running.

        Raises SpawnFailed with the traceback of what failed.
        """
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="fork-server", daemon=True)
                self._thread.start()
        self._ready()

    def spawn(self, spec: ChildSpec, on_exit: Callable[[Exit], None], *, before: Deadline | None = None) -> Child:
        """Start a child (about 5 ms), unless the lease clock has passed `before()` when the server handles the request.

        `before` is called when a server is ready, since a new one may take as long to load as a lease lasts. `on_exit`
        is called once, from the reader thread, perhaps before this returns; it must not block. A server that dies
        before it answers is replaced. Raises SpawnFailed; then `on_exit` is not called.
        """
        for _ in range(SERVERS_MAX - 1):
            try:
                return self._spawn_once(spec, on_exit, before)
            except SpawnFailed as error:
                if error.fate != Fate.SERVER:
                    raise
                logger.warning("%s Trying again with another fork server", error)
        return self._spawn_once(spec, on_exit, before)

    def _spawn_once(self, spec: ChildSpec, on_exit: Callable[[Exit], None], before: Deadline | None) -> Child:
        server = self._ready()
        try:
            return self._spawn_from(server, spec, on_exit, before)
        except SpawnFailed as error:
            if error.fate == Fate.SERVER:
                self._wait_for_end(server)
            raise

    def _spawn_from(
        self, server: ServerProcess, spec: ChildSpec, on_exit: Callable[[Exit], None], before: Deadline | None
    ) -> Child:
        deadline = before() if before is not None else None
        try:
            pipes = Pipes(None if self.account is None else self.account.uid)
        except OSError as error:
            fate = Fate.EXHAUSTED if is_exhaustion(error) else Fate.NONE
            raise SpawnFailed(f"Run {spec.key}: cannot create its pipes: {error}", fate) from error
        try:
            number, pid, start = server.spawn(spec, pipes.of_child, on_exit, deadline)
        except BaseException:
            pipes.close()
            raise
        user = "" if self.account is None else self.account.name
        return Child(pid, number, pipes, server, spec, start, user)

    def stop(self) -> None:
        """Kill all children, report their exits, and end the server. Blocks until done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            server, thread = self._server, self._thread
        if server is not None:
            server.post(Stop())
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT_S)
            if thread.is_alive() and server is not None:
                server.kill()
                thread.join(STOP_TIMEOUT_S)

    @property
    def pid(self) -> int | None:
        """Pid of the server process; None while there is none."""
        server = self._server
        return None if server is None else server.pid

    def _wait_for_end(self, server: ServerProcess) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._server is not server, STOP_TIMEOUT_S)

    def _ready(self) -> ServerProcess:
        """Return the running server; request a new one if there is none. Raises SpawnFailed."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with self._changed:
            if self._thread is None or self._stopping:
                raise SpawnFailed("The fork server is not running, or is stopping.", Fate.SERVER)
            if self._server is None:
                self._requested, self._failure = self._requested + 1, None
                self._changed.notify_all()
            while self._server is None:
                if self._failure is not None:
                    raise self._failure
                if self._stopping or not self._changed.wait(deadline - time.monotonic()):
                    raise SpawnFailed(f"The fork server did not start within {START_TIMEOUT_S:g} s.", Fate.SERVER)
            return self._server

    def _run(self) -> None:
        """Body of the thread: start a server on request, serve it until it ends, reap it, repeat."""
        served = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._requested > served)  # noqa: B023  # used in this iteration only
                if self._stopping:
                    return
                served = self._requested
            try:
                self._serve_one(ServerProcess(self.deadlines, self.account))
            except Exception:
                logger.exception("The fork server's thread failed; the next run starts a new server")

    def _serve_one(self, server: ServerProcess) -> None:
        try:
            server.start(START_TIMEOUT_S)
        except Exception as error:  # any failure: a spawn waits for it
            server.reap()
            with self._changed:
                self._failure = SpawnFailed(str(error), _fate_of(error))
                self._changed.notify_all()
            return
        with self._changed:
            self._server = server
            if self._stopping:
                server.post(Stop())
            self._changed.notify_all()
        try:
            server.serve()
        finally:
            with self._changed:
                self._server = None
                self._changed.notify_all()
            server.reap()


def _fate_of(error: Exception) -> Fate:
    """Return Fate.SERVER for a server that was killed while it loaded: the waiting run is not the cause."""
    return Fate.SERVER if isinstance(error, ServerStartFailed) and error.was_killed else Fate.NONE
