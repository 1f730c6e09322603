"""The worker's side of its children: the fork server that makes them, and a handle for each.

Promised: user code never runs in the worker, nor does the worker itself fork; `Exit` is told once per child, when no
process of its tree is left, also if the fork server is killed. After a kill -9 of the worker the server ends
everything; a child whose lease is not renewed in time is killed by the server, whatever the worker does meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from runs.exceptions import SpawnFailed, is_exhaustion
from runs.forkserver.board import Board
from runs.forkserver.pipes import Pipes
from runs.forkserver.protocol import Signal, Stop
from runs.forkserver.server_process import Incarnation, ServerGone
from runs.forkserver.spec import ChildSpec, Exit, Fate

__all__ = ["Child", "ChildSpec", "Exit", "Fate", "ForkServer", "SpawnFailed"]

logger = logging.getLogger(__name__)

Deadline = Callable[[], float]
"""A moment of the lease clock; raises SpawnFailed if there is none."""

START_TIMEOUT_S = 60.0
"""Longest time for a new fork server to load Django."""
SERVERS_MAX = 3
"""How many fork servers in turn may die under one spawn, before that fails."""
STOP_TIMEOUT_S = 10.0
"""Longest time for it to end all children and itself, before it is killed."""


class Child:
    """Handle of one child, thread-safe. Its read ends are non-blocking; they and the control pipe are closed by
    `close`.
    """

    def __init__(self, pid: int, number: int, pipes: Pipes, server: Incarnation, stacks_path: Path) -> None:
        self.pid = pid
        self.records_fd, self.stdout_fd, self.stderr_fd = pipes.records, pipes.stdout, pipes.stderr
        self.stacks_path = stacks_path
        self._number, self._pipes, self._server = number, pipes, server
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """One message on the control pipe. Never blocks; what a dead or stuck child does not take is dropped."""
        with self._lock, suppress(OSError):
            if not self._pipes.is_closed:
                os.write(self._pipes.control, msgspec.json.encode(message) + b"\n")

    def interrupt(self) -> None:
        """Raise RunCancelled in the child's main thread, if it is executing `run`. May be repeated."""
        self._server.post(Signal(self._number, "interrupt"))

    def request_stacks(self) -> int:
        """Have the child append the Python stacks of all its threads to `stacks_path`; returns the size that the file
        had before. Works also while the child hangs in C code.
        """
        try:
            size = self.stacks_path.stat().st_size
        except OSError:
            size = 0
        self._server.post(Signal(self._number, "stacks"))
        return size

    def terminate(self) -> None:
        """SIGTERM to the child and everything below it."""
        self._server.post(Signal(self._number, "terminate"))

    def kill(self) -> None:
        """Freeze the child, kill everything below it, then itself. The exit is told when all are gone. May be
        repeated.
        """
        self._server.post(Signal(self._number, "kill"))

    def close(self) -> None:
        """Close the worker's ends of the pipes. A child that still lives ends itself then."""
        with self._lock:
            self._pipes.close()


class ForkServer:
    """The fork server of this worker process, replaced by the next spawn when it has died. Thread-safe.

    It is started from a thread that lives as long as the worker, since the kernel's parent-death signal is bound to the
    thread that forked. That thread also reads the server's answers and calls every `on_exit`.
    """

    def __init__(self) -> None:
        self.deadlines = Board.create()
        """Until when the child of each attempt may live, see runs.worker.renewer."""
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._server: Incarnation | None = None
        self._wanted = 0  # rises with each request for a server
        self._failure: SpawnFailed | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the server; blocks until it is ready (some 0.3 s). Raises SpawnFailed, with the traceback of what is
        broken. Harmless when it is running.
        """
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._keep, name="fork-server", daemon=True)
                self._thread.start()
        self._ready()

    def spawn(self, spec: ChildSpec, on_exit: Callable[[Exit], None], *, before: Deadline | None = None) -> Child:
        """Start a child (some 5 ms), unless the lease clock is at `before()` or beyond when the server comes to it.

        That is asked when a server is ready, since a new one may take as long to load as a lease lasts. `on_exit` is
        called once, from the reader thread, perhaps before this returns; it must not block. A server that dies before
        it has answered is replaced. Raises SpawnFailed, and then `on_exit` is not called.
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
                self._wait_for_the_end_of(server)
            raise

    def _spawn_from(
        self, server: Incarnation, spec: ChildSpec, on_exit: Callable[[Exit], None], before: Deadline | None
    ) -> Child:
        deadline = before() if before is not None else None
        try:
            pipes = Pipes()
        except OSError as error:
            fate = Fate.EXHAUSTED if is_exhaustion(error) else Fate.NONE
            raise SpawnFailed(f"Run {spec.key}: no pipes could be made: {error}", fate) from error
        try:
            number, pid = server.spawn(spec, pipes.of_child, on_exit, deadline)
        except BaseException:
            pipes.close()
            raise
        return Child(pid, number, pipes, server, spec.stacks_path)

    def stop(self) -> None:
        """Kill all children, tell their exits, end the server. Blocks until it is done."""
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
        """Of the server process; None while there is none."""
        server = self._server
        return None if server is None else server.pid

    def _wait_for_the_end_of(self, server: Incarnation) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._server is not server, STOP_TIMEOUT_S)

    def _ready(self) -> Incarnation:
        """The running server; a new one is asked for if there is none. Raises SpawnFailed."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with self._changed:
            if self._thread is None or self._stopping:
                raise SpawnFailed("The fork server is not running, or is stopping.", Fate.SERVER)
            if self._server is None:
                self._wanted, self._failure = self._wanted + 1, None
                self._changed.notify_all()
            while self._server is None:
                if self._failure is not None:
                    raise self._failure
                if self._stopping or not self._changed.wait(deadline - time.monotonic()):
                    raise SpawnFailed(f"The fork server did not start within {START_TIMEOUT_S:g} s.", Fate.SERVER)
            return self._server

    def _keep(self) -> None:
        """The thread: start a server when one is wanted, serve it until its end, bury it, again."""
        served = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._wanted > served)  # noqa: B023  # waited for here
                if self._stopping:
                    return
                served = self._wanted
            try:
                self._serve_one(Incarnation(self.deadlines))
            except Exception:
                logger.exception("The fork server's thread failed; the next run starts a new server")

    def _serve_one(self, server: Incarnation) -> None:
        try:
            server.launch(START_TIMEOUT_S)
        except Exception as error:  # whatever it is, somebody waits for it
            server.bury()
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
            server.bury()


def _fate_of(error: Exception) -> Fate:
    """A server that was killed while it loaded says nothing of the run that waits for it."""
    return Fate.SERVER if isinstance(error, ServerGone) and error.was_killed else Fate.NONE
