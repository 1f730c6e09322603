"""One template, from the side of the fork server: its process, what it reported, and the processes that it forks."""

from __future__ import annotations

import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from runs.forkserver import process_tree
from runs.forkserver.imported import Imported
from runs.forkserver.ready import give
from runs.forkserver.reaper import Reaper

TEMPLATE_NAME = "athanor-warm"
"""Name of the process of a template while it waits."""
REPORT_MAX_BYTES = 8 * 1024 * 1024
"""Longest report of a template."""
READY_MAX = 4
"""Most processes that a template forks in advance."""
RETRY_S = 300.0
"""Time after which a template whose import ended its process is tried again."""
_READ_BYTES = 64 * 1024


class Report(msgspec.Struct, frozen=True, tag="report"):
    """First message of a template."""

    problem: str
    """Why no run can be forked from it, as the end of a sentence that begins with its import. Empty if one can."""
    import_s: float
    imported: Imported


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """Announces the process for the request with this number, before the server is its parent."""

    number: int
    pid: int


_decode = msgspec.json.Decoder(Report | Forked).decode


class Template:
    """Template of one experiment. It outlives its process, to keep the reason why its runs start cold."""

    def __init__(self, pid: int, connection: socket.socket, reaper: Reaper, *, is_explicit: bool) -> None:
        self.pid, self.socket = pid, connection
        self.used_at = self.left_at = time.monotonic()
        self.import_s = 0.0
        self._reaper, self._is_explicit = reaper, is_explicit
        self._problem = ""
        self._imported: Imported | None = None
        self._number = 0
        self._asked: dict[int, socket.socket] = {}  # by the number of the request
        self._ready: deque[tuple[int, socket.socket]] = deque()
        self._aim = 1
        self._is_leaving = self._is_closed = False
        self._rest = b""

    @classmethod
    def fork(cls, fork: Callable[[int], int], reaper: Reaper, *, is_explicit: bool) -> Template | None:
        """Start the process of a template. None if the machine has no room for it."""
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return None
        with theirs:
            try:
                pid = fork(theirs.fileno())
            except OSError:
                ours.close()
                return None
        ours.setblocking(False)
        reaper.reserve(pid)
        return cls(pid, ours, reaper, is_explicit=is_explicit)

    @property
    def is_importing(self) -> bool:
        return self.has_process and self._imported is None

    @property
    def is_ready(self) -> bool:
        """True if runs can be forked from it."""
        return self.has_process and self._imported is not None and not self._problem

    @property
    def has_process(self) -> bool:
        return not self._is_closed

    @property
    def is_over(self) -> bool:
        """True if it must be made anew: its files have changed, or its process has ended without a reason."""
        if self._imported is not None:
            return (self._is_closed and not self._problem) or self._imported.has_changed()
        return self._is_closed and (not self._problem or time.monotonic() - self.used_at > RETRY_S)

    @property
    def is_short(self) -> bool:
        """True if it should fork another process in advance."""
        return self.is_ready and len(self._ready) + len(self._asked) < self._aim

    @property
    def reason(self) -> str:
        """Why runs start cold, for people; empty for an experiment that did not ask for warm starts."""
        return self._problem if self._is_explicit else ""

    def ask(self, *, more: bool = False) -> None:
        """Ask for another process. `more` keeps one more in advance from now on."""
        if more:
            self._aim = min(self._aim + 1, READY_MAX)
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return
        with theirs:
            try:
                socket.send_fds(self.socket, [b"f"], [theirs.fileno()])
            except OSError:  # it has ended, or does not read
                ours.close()
                return
        ours.setblocking(False)
        self._number += 1
        self._asked[self._number] = ours

    def hand_over(self, spec: bytes, fds: Sequence[int]) -> int | None:
        """Give a spec to a waiting process and return its pid; None if there is none."""
        self.used_at = time.monotonic()
        while self._ready:
            pid, ours = self._ready.popleft()
            with ours:
                if self._reaper.is_reserved(pid):
                    if give(ours, spec, fds):
                        self._reaper.release(pid)
                        return pid
                    process_tree.send(pid, signal.SIGKILL)
        return None

    def read(self) -> bool:
        """Handle what it has sent. Return False if it has closed its connection, or sent something invalid."""
        try:
            while data := self.socket.recv(_READ_BYTES):
                *messages, self._rest = (self._rest + data).split(b"\n")
                for message in messages:
                    self._handle(_decode(message))
                if len(self._rest) > REPORT_MAX_BYTES:
                    return self.fail("its template process sent too much")
        except BlockingIOError:
            return True
        except (OSError, msgspec.MsgspecError):
            pass
        if self._imported is None and not self._problem:
            self._problem = "importing it ended its template process"
        return False

    def _handle(self, message: Report | Forked) -> None:
        if isinstance(message, Report):
            self._imported, self.import_s = message.imported, message.import_s
            self._problem = f"importing it {message.problem}" if message.problem else ""
            self.used_at = time.monotonic()
            return
        ours = self._asked.pop(message.number, None)
        if ours is None:
            return
        self._reaper.reserve(message.pid)
        self._ready.append((message.pid, ours))
        if self._is_leaving:
            self._end_ready()

    def fail(self, problem: str) -> bool:
        """Kill it, and keep the reason. Returns False."""
        self._problem = problem
        self.kill()
        return False

    def leave(self) -> None:
        """Let it end, after the processes that it is forking are known."""
        self._is_leaving, self.left_at = True, time.monotonic()
        self._end_ready()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        if self.is_importing:
            self.kill()

    def kill(self) -> None:
        if self._reaper.is_reserved(self.pid):
            process_tree.send(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close its connection, and end the processes that wait."""
        self._is_closed = True
        self.socket.close()
        self._end_ready()
        for ours in self._asked.values():
            ours.close()  # its process exits by itself
        self._asked.clear()
        self.kill()

    def _end_ready(self) -> None:
        while self._ready:
            pid, ours = self._ready.popleft()
            ours.close()
            if self._reaper.is_reserved(pid):
                process_tree.send(pid, signal.SIGKILL)
