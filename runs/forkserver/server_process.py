"""One fork server process, as the worker sees it: from its start to the burial of all that descends from it."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import runs
from experiments.signal_names import signal_name
from runs.exceptions import SpawnFailed
from runs.forkserver import environment, machine, process_tree
from runs.forkserver.board import Board
from runs.forkserver.keeper import killed_by
from runs.forkserver.marks import SERVER_MARK, ServerMark
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
"""Longest wait for the fork of one child; then it is given up."""
PING_EVERY_S = 2.0
"""How often a server is asked for a sign of life."""
PONG_TIMEOUT_S = 10.0
"""A server that is silent for longer is killed, and its children with it."""
START_FAILURE_TIMEOUT_S = 10.0
"""Longest wait for the exit status of a server that did not start."""
REAP_PAUSES_S = (0.1, 2.0)
"""First and longest pause between two tries to kill the processes of a server that ended, until all are gone."""
REAP_WARNING_S = 10.0
"""How often a warning is logged while some of them cannot be killed."""

_PROJECT = Path(runs.__file__).resolve().parent.parent


class ServerGone(Exception):
    """The server process did not come up. `was_killed` tells that from one that cannot."""

    def __init__(self, message: str, *, was_killed: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed


@dataclass(slots=True)
class _Ward:
    """A child, from the request to its exit."""

    on_exit: Callable[[Exit], None]
    answered: threading.Event = field(default_factory=threading.Event)
    pid: int | None = None
    refusal: str | None = None
    fate: Fate = Fate.NONE
    """For what it was refused, if not for what it is."""


class Incarnation:
    """`launch`, `serve` and `bury` are called in this order by one thread; the rest by any."""

    def __init__(self, deadlines: Board) -> None:
        self.pid: int | None = None
        self._started: float | None = None  # the start of that process, which tells it from a later one of its pid
        self._deadlines = deadlines
        self._mark = str(_own_mark())
        self._lock = threading.Lock()
        self._wards: dict[int, _Ward] = {}
        self._numbers = itertools.count(1)
        self._gone = False
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = ""
        self._pinged_at: float | None = None  # when the ping was sent that is not answered yet
        self._ping_due_at = 0.0
        ours, self._theirs = socket.socketpair()
        self._connection = Connection(ours)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    # The thread of the server

    def launch(self, timeout_s: float) -> None:
        """Start the process and wait until it has loaded everything. Raises ServerGone."""
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        command = [sys.executable, *flags, "-P", "-m", "runs.forkserver.keeper"]
        arguments = [str(self._theirs.fileno()), str(os.getpid()), str(self._deadlines.fd)]
        environ = environment.for_children(os.environ)
        python_path = environ.get("PYTHONPATH")
        environ["PYTHONPATH"] = os.pathsep.join([str(_PROJECT), *([python_path] if python_path else [])])
        environ[SERVER_MARK] = self._mark
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                command + arguments,
                pass_fds=[self._theirs.fileno(), self._deadlines.fd],
                stdin=subprocess.DEVNULL,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerGone(f"The fork server could not be started: {error}") from error
        finally:
            self._theirs.close()
        self.post(Start([path or str(Path.cwd()) for path in sys.path], python_path))
        self._loop(lambda: self.pid is not None, time.monotonic() + timeout_s)
        if self.pid is None:
            raise self._not_up()

    def serve(self) -> None:
        """Take the server's answers until it is gone."""
        self._loop(lambda: False, None)

    def bury(self) -> None:
        """Kill server and keeper with everything below them, then tell the exits that the server could not tell.

        Blocks until no process is left, however long that takes: a run has one live execution at most.
        """
        self.kill()
        with self._lock:
            self._gone = True
            wards, self._wards = self._wards, {}
        if self._process is not None:
            self._reap_all(self._process)
        company = sum(ward.pid is not None for ward in wards.values()) - 1
        for ward in wards.values():
            if ward.pid is not None:
                _tell(ward, Exit(None, signal.SIGKILL, 0.0, 0, 0, Fate.SERVER, company))
            else:
                ward.refusal = "The fork server died before it answered; the next run starts a new one."
                ward.fate = Fate.SERVER
            ward.answered.set()
        self._connection.close()
        close_all([self._wake_read, self._wake_write])

    def _reap_all(self, keeper: subprocess.Popen[bytes]) -> None:
        """Wait for the keeper, which kills what it adopts, and kill by the mark what it does not reach.

        A keeper that was stopped is continued; of one that was killed the orphans have other parents.
        """
        began = warned = time.monotonic()
        pause_s, longest_s = REAP_PAUSES_S
        while True:
            with suppress(subprocess.TimeoutExpired):
                keeper.wait(pause_s)
            left = self._left_of(keeper)
            if not left and keeper.poll() is not None:
                return
            pause_s = min(2 * pause_s, longest_s)
            keeper.send_signal(signal.SIGCONT)
            for pid in left:
                process_tree.send(pid, signal.SIGKILL)
            if time.monotonic() - warned >= REAP_WARNING_S:
                warned = time.monotonic()
                logger.error(
                    "Processes %s of fork server %s are still there %.0f s after its end; their runs wait for them",
                    [keeper.pid, *left], self.pid, warned - began,
                )  # fmt: skip

    def _left_of(self, keeper: subprocess.Popen[bytes]) -> list[int]:
        """Living processes that descend from this server by their mark, but for a keeper that may still do its work."""
        return [pid for pid in process_tree.marked(SERVER_MARK, self._mark) if pid != keeper.pid]

    def _loop(self, is_done: Callable[[], bool], deadline: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._connection, selectors.EVENT_READ)
            while not is_done() and (deadline is None or time.monotonic() < deadline):
                if not self._turn(selector):
                    return

    def _turn(self, selector: selectors.BaseSelector) -> bool:
        """One turn of the loop; False when the server is gone."""
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
                    self._take(decode_answer(message))
            if events & selectors.EVENT_WRITE:
                with self._lock:
                    self._connection.flush()
        except (EOFError, OSError):
            return False
        except msgspec.MsgspecError as error:
            self._trouble = f"it answered what is no answer: {error}"
            return False
        return self._is_responsive()

    def _is_responsive(self) -> bool:
        """Ask for a sign of life now and then; False, and the server is killed, if it owes one for too long."""
        now = time.monotonic()
        if self._pinged_at is not None:
            if self.pid is None:
                return True
            if now - self._pinged_at <= PONG_TIMEOUT_S:
                if now - self._pinged_at >= PING_EVERY_S:
                    self._continue()
                return True
            self._trouble = f"it was silent for {PONG_TIMEOUT_S:g} s"
            logger.error("Fork server %s is silent; it is killed with all its children", self.pid)
            return False
        if now >= self._ping_due_at:
            self._pinged_at = now
            self.post(Ping())
        return True

    def _continue(self) -> None:
        """Send SIGCONT to server and keeper: if somebody has stopped them, no run needs to be lost for it."""
        for pid in (self.pid, self._process.pid if self._process else None):
            if pid is not None:
                process_tree.send(pid, signal.SIGCONT)

    def _answered(self) -> None:
        self._pinged_at, self._ping_due_at = None, time.monotonic() + PING_EVERY_S

    def _take(self, answer: Any) -> None:
        match answer:
            case Ready(pid):
                self.pid, self._started = pid, machine.started(pid)
                self._answered()
            case Broken(traceback):
                self._trouble = traceback
            case Pong():
                self._answered()
            case Spawned(number, pid):
                self._spawned(number, pid)
            case Refused(number, why, fate):
                with self._lock:
                    ward = self._wards.pop(number, None)
                if ward is not None:
                    ward.refusal, ward.fate = why, fate
                    ward.answered.set()
            case Exited(number):
                with self._lock:
                    ward = self._wards.pop(number, None)
                if ward is not None:
                    _tell(ward, _exit_of(answer))

    def _spawned(self, number: int, pid: int) -> None:
        with self._lock:
            ward = self._wards.get(number)
            if ward is not None:
                ward.pid = pid
                ward.answered.set()
        if ward is None:  # nobody waits for it any more
            self.post(Signal(number, "kill"))

    def _not_up(self) -> ServerGone:
        """Why there is no server, by its last word or by its keeper's end."""
        why, was_killed = self._trouble or "it did not answer in time", False
        if not self._trouble and self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(START_FAILURE_TIMEOUT_S)
                number = killed_by(status)
                was_killed = number is not None
                how = f"exited with status {status}" if number is None else f"was killed by {signal_name(number)}"
                why = f"it {how}"
                why += "; its last words are on this worker's standard error"
        return ServerGone(f"The fork server did not come up: {why}", was_killed=was_killed)

    # Any thread

    def spawn(
        self, spec: ChildSpec, fds: Sequence[int], on_exit: Callable[[Exit], None], before: float | None
    ) -> tuple[int, int]:
        """Have a child forked; returns its number and pid. Takes the descriptors over. Raises SpawnFailed."""
        try:
            raw = msgspec.Raw(msgspec.json.encode(spec, enc_hook=str))
        except (TypeError, ValueError, RecursionError) as error:
            close_all(fds)
            raise SpawnFailed(f"Run {spec.key}: its configuration or checkpoint is not JSON: {error}") from error
        ward = _Ward(on_exit)
        with self._lock:
            number = next(self._numbers)
            if self._gone:
                close_all(fds)
                raise SpawnFailed(f"Run {spec.key}: the fork server died; the next run starts a new one.", Fate.SERVER)
            self._wards[number] = ward
        self.post(Spawn(number, raw, before, str(spec.key)), fds)
        if not ward.answered.wait(SPAWN_TIMEOUT_S):
            with self._lock:
                given_up = ward.pid is None and self._wards.pop(number, None) is not None
            if given_up:
                raise SpawnFailed(
                    f"Run {spec.key}: the fork server did not answer within {SPAWN_TIMEOUT_S:g} s.", Fate.SERVER
                )
        if ward.refusal is not None or ward.pid is None:
            raise SpawnFailed(f"Run {spec.key}: {ward.refusal}", ward.fate)
        return number, ward.pid

    def post(self, message: Request, give: Sequence[int] = ()) -> None:
        """Send a message; never blocks. To a server that is gone nothing is sent, and its end is told otherwise."""
        with self._lock:
            if self._gone:
                close_all(give)
                return
            with suppress(OSError):
                self._connection.post(message, give)
            if self._connection.has_unsent:
                with suppress(OSError):
                    os.write(self._wake_write, b"\0")

    def kill(self) -> None:
        """Kill everything below the server, then the server; its keeper ends by itself. Harmless when it is gone."""
        if self.pid is not None:
            if self._started is not None and machine.started(self.pid) == self._started:
                process_tree.kill_trees([self.pid])
        elif self._process is not None:
            self._process.kill()


def _own_mark() -> ServerMark:
    """A new one of this worker."""
    pid = os.getpid()
    return ServerMark(machine.boot_id(), pid, machine.started(pid) or 0.0, secrets.token_hex(8))


def _exit_of(answer: Exited) -> Exit:
    return Exit(
        status=answer.status,
        signal=answer.signal,
        cpu_seconds=answer.cpu_seconds,
        peak_memory_bytes=answer.peak_memory_bytes,
        orphans_killed=answer.orphans_killed,
        fate=answer.fate,
        company=answer.company,
    )


def _tell(ward: _Ward, exit_: Exit) -> None:
    """Call `on_exit`; its failure is logged, since this thread must live."""
    try:
        ward.on_exit(exit_)
    except Exception:
        logger.exception("on_exit of child %s failed", ward.pid)
