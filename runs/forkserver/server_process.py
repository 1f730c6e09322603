"""One fork server process, from the worker's side: start it, serve its answers, reap it and all its descendants."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

import runs
from experiments.signal_names import signal_name
from runs.exceptions import SpawnFailed
from runs.forkserver import environment, machine, process_tree
from runs.forkserver.account import Account
from runs.forkserver.board import Board
from runs.forkserver.keeper import killed_by
from runs.forkserver.marks import SERVER_MARK, ServerMark
from runs.forkserver.pending import PendingChild
from runs.forkserver.protocol import (
    Broken,
    Connection,
    Exited,
    Ping,
    Pong,
    Ready,
    Refused,
    Request,
    Signal,
    Spawn,
    Spawned,
    Start,
    close_all,
    decode_answer,
)
from runs.forkserver.spec import ChildSpec, Exit, Fate

logger = logging.getLogger(__name__)

SPAWN_TIMEOUT_S = 30.0
"""Longest wait for the fork of one child."""
PING_EVERY_S = 2.0
"""Interval between two pings."""
PONG_TIMEOUT_S = 10.0
"""Longest wait for the answer to a ping. Then the server is killed, with its children."""
START_FAILURE_TIMEOUT_S = 10.0
"""Longest wait for the exit status of a server that did not start."""
REAP_PAUSES_S = (0.1, 2.0)
"""First and longest pause between two attempts to kill the processes of a dead server."""
REAP_WARNING_S = 10.0
"""Interval between two warnings while some of these processes are still alive."""

_PROJECT = Path(runs.__file__).resolve().parent.parent


class ServerStartFailed(Exception):
    """A server process did not start. `was_killed` if a signal ended it: then another try may succeed."""

    def __init__(self, message: str, *, was_killed: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed


class ServerProcess:
    """One server process. One thread calls `start`, `serve` and `reap` in this order; any thread may call the rest."""

    def __init__(self, deadlines: Board, account: Account | None = None) -> None:
        self._account = account
        self.isolation = ""
        self.pid: int | None = None
        self._started: float | None = None  # start of that process, to detect a reused pid
        self._deadlines = deadlines
        self._mark = str(_own_mark())
        self._lock = threading.Lock()
        self._pending: dict[int, PendingChild] = {}
        self._numbers = itertools.count(1)
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._failure = ""
        self._pinged_at: float | None = None  # time of the unanswered ping
        self._ping_due_at = 0.0
        ours, self._theirs = socket.socketpair()
        self._connection = Connection(ours, fds_max=0)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    # For the thread that owns the server

    def start(self, timeout_s: float) -> None:
        """Start the process and wait until it has loaded everything. Raises ServerStartFailed."""
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        command = [sys.executable, *flags, "-P", "-m", "runs.forkserver.keeper"]
        board = self._deadlines.reading_end()
        arguments = [str(self._theirs.fileno()), str(os.getpid()), str(board)]
        var = None
        if self._account is not None:
            arguments.append(self._account.encoded())
            var = self._account.folder
        environ, python_path = environment.of_server(project=str(_PROJECT), mark=self._mark, var=var)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                command + arguments,
                pass_fds=[self._theirs.fileno(), board],
                stdin=subprocess.DEVNULL,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerStartFailed(f"Cannot start the fork server: {error}") from error
        finally:
            self._theirs.close()
            os.close(board)
        self.post(Start([path or str(Path.cwd()) for path in sys.path], python_path))
        self._loop(lambda: self.pid is not None, time.monotonic() + timeout_s)
        if self.pid is None:
            raise self._start_failure()

    def serve(self) -> None:
        """Handle the server's answers until it ends."""
        self._loop(lambda: False, None)

    def reap(self) -> None:
        """Kill the server and everything below it, then report the exits that the server could not report.

        Blocks until no process remains, however long that takes: a run has at most one live execution.
        """
        self.kill()
        with self._lock:
            self._closed = True
            pending, self._pending = self._pending, {}
        if self._process is not None:
            self._reap_all(self._process)
        company = sum(child.pid is not None for child in pending.values()) - 1
        for child in pending.values():
            if child.pid is not None:
                child.report(Exit(None, signal.SIGKILL, 0.0, 0, 0, Fate.SERVER, company))
            else:
                child.refusal = "The fork server died before it answered. The next run starts a new one."
                child.fate = Fate.SERVER
            child.answered.set()
        self._connection.close()
        close_all([self._wake_read, self._wake_write])

    def _reap_all(self, keeper: subprocess.Popen[bytes]) -> None:
        """Wait for the keeper, which kills the processes that it adopts, and kill all others by their mark.

        Continue a keeper that was stopped. The orphans of a killed keeper have other parents.
        """
        started_at = warned_at = time.monotonic()
        pause_s, longest_s = REAP_PAUSES_S
        while True:
            with suppress(subprocess.TimeoutExpired):
                keeper.wait(pause_s)
            remaining = self._remaining_of(keeper)
            if not remaining and keeper.poll() is not None:
                return
            pause_s = min(2 * pause_s, longest_s)
            keeper.send_signal(signal.SIGCONT)
            for pid in remaining:
                process_tree.send(pid, signal.SIGKILL)
            if time.monotonic() - warned_at >= REAP_WARNING_S:
                warned_at = time.monotonic()
                logger.error(
                    "Processes %s of fork server %s are still alive %.0f s after its end. Their runs wait for them.",
                    [keeper.pid, *remaining], self.pid, warned_at - started_at,
                )  # fmt: skip

    def _remaining_of(self, keeper: subprocess.Popen[bytes]) -> list[int]:
        """Return the living processes with the mark of this server, except the keeper."""
        return [pid for pid in process_tree.marked(SERVER_MARK, self._mark) if pid != keeper.pid]

    def _loop(self, is_done: Callable[[], bool], deadline: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._connection, selectors.EVENT_READ)
            while not is_done() and (deadline is None or time.monotonic() < deadline):
                if not self._run_once(selector):
                    return

    def _run_once(self, selector: selectors.BaseSelector) -> bool:
        """Run the loop once; return False when the server has ended."""
        with self._lock:
            unsent = self._connection.has_unsent
        selector.modify(self._connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0))
        ready = {key.fd: events for key, events in selector.select(PING_EVERY_S)}
        with suppress(BlockingIOError):
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
        events = ready.get(self._connection.fileno(), 0)
        try:
            if events & selectors.EVENT_READ:
                for message in self._connection.receive():
                    self._handle(decode_answer(message))
            if events & selectors.EVENT_WRITE:
                with self._lock:
                    self._connection.flush()
        except (EOFError, OSError):
            return False
        except msgspec.MsgspecError as error:
            self._failure = f"it sent an invalid answer: {error}"
            return False
        return self._is_responsive()

    def _has_unread(self) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0))

    def _is_responsive(self) -> bool:
        """Ping the server regularly; return False if it has not answered for too long, and must be killed."""
        now = time.monotonic()
        if self._pinged_at is not None:
            if self.pid is None:
                return True
            if now - self._pinged_at <= PONG_TIMEOUT_S:
                if now - self._pinged_at >= PING_EVERY_S:
                    self._continue()
                return True
            if self._has_unread():
                return True  # it has answered: this process was frozen, not the server
            self._failure = f"it did not answer for {PONG_TIMEOUT_S:g} s"
            logger.error("Fork server %s does not answer; killing it and all its children", self.pid)
            return False
        if now >= self._ping_due_at:
            self._pinged_at = now
            self.post(Ping())
        return True

    def _continue(self) -> None:
        """Send SIGCONT to server and keeper, so that no run is lost if a run has stopped them."""
        for pid in (self.pid, self._process.pid if self._process else None):
            if pid is not None:
                process_tree.send(pid, signal.SIGCONT)

    def _mark_alive(self) -> None:
        self._pinged_at, self._ping_due_at = None, time.monotonic() + PING_EVERY_S

    def _handle(self, answer: Any) -> None:
        match answer:
            case Ready(pid, isolation):
                self.pid, self.isolation, self._started = pid, isolation, machine.started(pid)
                self._mark_alive()
            case Broken(traceback):
                self._failure = traceback
            case Pong():
                self._mark_alive()
            case Spawned():
                self._spawned(answer)
            case Refused(number, why, fate):
                with self._lock:
                    child = self._pending.pop(number, None)
                if child is not None:
                    child.refusal, child.fate = why, fate
                    child.answered.set()
            case Exited(number, exit_):
                with self._lock:
                    child = self._pending.pop(number, None)
                if child is not None:
                    child.report(exit_)

    def _spawned(self, answer: Spawned) -> None:
        with self._lock:
            child = self._pending.get(answer.id)
            if child is not None:
                child.pid, child.start = answer.pid, answer.start
                child.answered.set()
        if child is None:  # its request has timed out
            self.post(Signal(answer.id, "kill"))

    def _start_failure(self) -> ServerStartFailed:
        """Describe why the server did not start, from its last message or the exit of its keeper."""
        why, was_killed = self._failure or "it did not answer in time", False
        if not self._failure and self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(START_FAILURE_TIMEOUT_S)
                number = killed_by(status)
                was_killed = number is not None
                how = f"exited with status {status}" if number is None else f"was killed by {signal_name(number)}"
                why = f"it {how}"
                why += "; see the standard error of this worker"
        return ServerStartFailed(f"The fork server did not start: {why}", was_killed=was_killed)

    # For any thread

    def spawn(
        self, spec: ChildSpec, fds: Sequence[int], on_exit: Callable[[Exit], None], before: float | None
    ) -> tuple[int, int, str]:
        """Fork a child; return its number, its pid and the kind of its start. Takes ownership of the descriptors.

        Raises SpawnFailed.
        """
        try:
            raw = msgspec.Raw(msgspec.json.encode(spec, enc_hook=str))
        except (TypeError, ValueError, RecursionError) as error:
            close_all(fds)
            raise SpawnFailed(f"Run {spec.key}: its configuration or checkpoint is not valid JSON: {error}") from error
        child = PendingChild(on_exit)
        with self._lock:
            number = next(self._numbers)
            if self._closed:
                close_all(fds)
                raise SpawnFailed(f"Run {spec.key}: the fork server died. The next run starts a new one.", Fate.SERVER)
            self._pending[number] = child
        self.post(Spawn(number, raw, before, str(spec.key), spec.experiment), fds)
        if not child.answered.wait(SPAWN_TIMEOUT_S):
            with self._lock:
                timed_out = child.pid is None and self._pending.pop(number, None) is not None
            if timed_out:
                raise SpawnFailed(
                    f"Run {spec.key}: the fork server did not answer within {SPAWN_TIMEOUT_S:g} s.", Fate.SERVER
                )
        if child.refusal is not None or child.pid is None:
            raise SpawnFailed(f"Run {spec.key}: {child.refusal}", child.fate)
        return number, child.pid, child.start

    def post(self, message: Request, give: Sequence[int] = ()) -> None:
        """Send a message without blocking. Does nothing once the server has ended."""
        with self._lock:
            if self._closed:
                close_all(give)
                return
            with suppress(OSError):
                self._connection.post(message, give)
            if self._connection.has_unsent:
                with suppress(OSError):
                    os.write(self._wake_write, b"\0")

    def kill(self) -> None:
        """Kill everything below the server, then the server. Its keeper then exits. Does nothing when it has ended."""
        if self.pid is not None:
            if self._started is not None and machine.started(self.pid) == self._started:
                process_tree.kill_trees([self.pid])
        elif self._process is not None:
            self._process.kill()


def _own_mark() -> ServerMark:
    """Create a new mark of this worker."""
    pid = os.getpid()
    return ServerMark(machine.boot_id(), pid, machine.started(pid) or 0.0, secrets.token_hex(8))
