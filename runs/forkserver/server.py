"""Fork server: a single-threaded loop over the worker's socket, the exits of children, and their leases.

It loads Django and the framework once and forks a child per request, or hands the request to one that it forked in
advance (see ready.py). It never loads an experiment. See keeper.py for what happens when it is killed.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec

from runs.exceptions import is_exhaustion
from runs.forkserver import account, mounts, prctl, process_tree, shared_memory
from runs.forkserver.account import AccountUnusable
from runs.forkserver.board import Board
from runs.forkserver.clock import lease_clock
from runs.forkserver.leases import READ_EVERY_S, Leases
from runs.forkserver.prctl import PARENT_GONE
from runs.forkserver.protocol import (
    Answer,
    Broken,
    Connection,
    KeepWarm,
    Ping,
    Pong,
    Ready,
    Refused,
    Signal,
    Spawn,
    Spawned,
    Start,
    Stop,
    close_all,
    decode_request,
)
from runs.forkserver.ready import Limits, ReadyChildren
from runs.forkserver.reaper import Reaper
from runs.forkserver.spec import Fate
from runs.forkserver.templates import Start as ChildStart
from runs.forkserver.templates import Templates, WarmLimits

logger = logging.getLogger(__name__)

SWEEP_S = 0.002
"""Polling interval while orphans of a dead child remain."""
WAITING_S = 0.05
"""Polling interval while a spawn waits for a template."""


@dataclass(slots=True)
class _Waiting:
    """Spawn that waits for the process of a template."""

    request: Spawn
    fds: list[int]
    since: float | None = None


class Server:
    """Loop of the fork server. It ends when the worker ends or requests it."""

    def __init__(self, connection: Connection, leases: Leases) -> None:
        self._connection, self._leases = connection, leases
        self._reaper = Reaper()
        self._fork: Callable[[bytes, Sequence[int]], int] | None = None
        self._ready: ReadyChildren | None = None
        self._templates = Templates(self._reaper)
        self._waiting: list[_Waiting] = []
        self._reaper.announced = self._templates.read
        self._is_used = False
        self._stopping = False
        self._keeper = os.getppid()

    def run(self) -> None:
        """Serve until the worker ends or requests a stop, then kill every child."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            wake = _wake_at_signals()
            selector.register(wake, selectors.EVENT_READ)
            selector.register(self._templates, selectors.EVENT_READ)
            while not self._stopping:
                self._run_once(selector, wake)
            selector.unregister(self._connection)
            self._kill_all(selector, wake)

    def request_stop(self, *_: Any) -> None:
        """Stop at the next iteration. Usable as a signal handler."""
        self._stopping = True

    # One iteration

    def _run_once(self, selector: selectors.BaseSelector, wake: int) -> None:
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._connection.has_unsent else 0)
        selector.modify(self._connection, interest)
        ready = {key.fd for key, events in selector.select(self._sleep_s()) if events & selectors.EVENT_READ}
        if not ready and self._ready is not None:
            self._ready.work()
            self._templates.work()
            self._tidy()
        if wake in ready:
            os.read(wake, 4096)
        if self._connection.fileno() in ready:
            self._read()
        self._templates.read()
        self._waiting = [waiting for waiting in self._waiting if not self._start_child(waiting)]
        self._enforce_leases()
        self._reap()
        self._answer()

    def _tidy(self) -> None:
        """Remove temporary files when no run is left."""
        if self._is_used and not (self._reaper.has_children or self._templates.has_processes):
            self._is_used = False
            if account.has_private_tmp():
                mounts.empty_temporary()

    def _sleep_s(self) -> float | None:
        sleeps = [self._ready.due_in() if self._ready is not None else None, self._templates.due_in()]
        if self._waiting:
            sleeps.append(WAITING_S)
        if self._reaper.has_unreported:
            sleeps.append(SWEEP_S)
        elif self._reaper.has_children:
            sleeps.append(READ_EVERY_S)
        return min((sleep for sleep in sleeps if sleep is not None), default=None)

    def _read(self) -> None:
        try:
            for message in self._connection.receive():
                self._handle(decode_request(message))
        except (EOFError, OSError):
            self._stopping = True
        except msgspec.MsgspecError:
            logger.exception("The worker sent an invalid request; the fork server exits")
            self._stopping = True

    def _handle(self, request: Any) -> None:
        match request:
            case Start():
                self._start(request)
            case Spawn():
                waiting = _Waiting(request, self._connection.take_fds(4))
                if not self._start_child(waiting):
                    self._waiting.append(waiting)
            case KeepWarm(experiment, is_explicit):
                self._templates.keep(experiment, is_explicit=is_explicit)
            case Signal(number, how):
                for pid in self._reaper.pids(number):
                    self._signal(pid, how)
            case Ping():
                self._answer(Pong())
            case Stop():
                self._stopping = True

    def _start(self, request: Start) -> None:
        try:
            isolation = account.isolation()
            child = load(request)
        except AccountUnusable as error:
            self._answer(Broken(str(error)))
            self._stopping = True
        except BaseException:
            self._answer(Broken(traceback.format_exc()))
            self._stopping = True
        else:
            self._fork = child.fork
            self._ready = ReadyChildren(child.fork_ready, self._reaper, Limits(*child.ready_limits()))
            if (limits := child.warm_limits()) is not None:
                self._templates.enable(child.fork_warm, WarmLimits(*limits))
            self._answer(Ready(os.getpid(), isolation))

    def _start_child(self, waiting: _Waiting) -> bool:
        """Answer a spawn. Return False if it waits for the process of a template."""
        request = waiting.request
        try:
            if self._stopping or os.getppid() != self._keeper:
                self._stopping = True  # the keeper has ended; the worker asks another server
            elif self._is_too_late(request):
                raise TimeoutError("the lease has expired")
            elif (start := self._process_for(waiting)).pid is None:
                return False
            else:
                self._is_used = True
                self._reaper.add(start.pid, request.id)
                self._leases.add(request.id, request.attempt, request.before)
                self._answer(Spawned(request.id, start.pid, start.text))
        except TimeoutError as error:
            self._answer(Refused(request.id, f"The child was not started: {error}", Fate.LEASE))
        except OSError as error:
            fate = Fate.EXHAUSTED if is_exhaustion(error) else Fate.NONE
            self._answer(Refused(request.id, f"Cannot start the child: {error}", fate))
        close_all(waiting.fds)
        return True

    def _process_for(self, waiting: _Waiting) -> ChildStart:
        """Start the process of a run: warm, ready or forked now. Without a pid, it waits for a template."""
        if self._ready is None or self._fork is None:
            raise OSError("the fork server has not loaded yet")
        spec = bytes(waiting.request.spec)
        start = self._templates.start(waiting.request.experiment, spec, waiting.fds, asked_at=waiting.since)
        if start.waits:
            waiting.since = waiting.since or time.monotonic()
        elif start.pid is None:
            pid = self._ready.hand_over(spec, waiting.fds)
            return ChildStart(self._fork(spec, waiting.fds) if pid is None else pid, text=start.text)
        return start

    def _is_too_late(self, request: Spawn) -> bool:
        until = self._leases.until(request.attempt, request.before)
        return until is not None and until <= lease_clock()

    def _signal(self, pid: int, how: str) -> None:
        match how:
            case "interrupt":
                process_tree.send(pid, signal.SIGUSR1)
            case "stacks":
                process_tree.send(pid, signal.SIGUSR2)
            case "terminate":
                process_tree.signal_tree(pid, signal.SIGTERM)
            case "kill":
                self._reaper.kill([pid])

    def _enforce_leases(self) -> None:
        """Kill the children of expired leases: another worker may take over their runs now."""
        if expired := self._leases.expired(lease_clock()):
            logger.error("%d leases were not renewed in time; killing their children", len(expired))
            self._reaper.kill([pid for number in expired for pid in self._reaper.pids(number)], Fate.LEASE)

    def _kill_all(self, selector: selectors.BaseSelector, wake: int) -> None:
        """Kill every child and its orphans, and report the exits if the worker is still alive."""
        if self._ready is not None:
            self._ready.release_all()
        self._templates.end_all()
        for waiting in self._waiting:
            close_all(waiting.fds)
        self._reaper.kill(self._reaper.pids(), Fate.SERVER)
        self._reap()
        while self._reaper.has_children or self._reaper.has_unreported or self._reaper.has_reserved:
            if selector.select(SWEEP_S):
                os.read(wake, 4096)
            self._reap()

    def _reap(self) -> None:
        self._reaper.reap()
        for exited in self._reaper.sweep():
            self._leases.remove(exited.id)
            self._answer(exited)

    def _answer(self, answer: Answer | None = None) -> None:
        """Send an answer and everything unsent. The end of the worker is detected when its socket is read."""
        with suppress(OSError):
            if answer is None:
                self._connection.flush()
            else:
                self._connection.post(answer)


def _wake_at_signals() -> int:
    """Return a descriptor that becomes readable at each SIGCHLD."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return read


def load(start: Start) -> ModuleType:
    """Load Django and the framework; return `runs.child.child`, which forks children. Raises any error of it."""
    sys.path[:] = start.sys_path
    if start.python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = start.python_path
    import django

    django.setup()
    from runs.child import child

    child.warm_up()
    shared_memory.settle()
    if (threads := threading.active_count()) > 1:
        logger.warning("%d threads run after loading. One that holds a lock during a fork may block a child.", threads)
    return child


def serve(socket_fd: int, board_fd: int) -> None:
    """Run the server process. Returns when no child is left."""
    prctl.adopt_orphans()
    os.set_inheritable(board_fd, False)
    server = Server(Connection(socket.socket(fileno=socket_fd)), Leases(Board(board_fd)))
    signal.signal(PARENT_GONE, server.request_stop)
    server.run()
