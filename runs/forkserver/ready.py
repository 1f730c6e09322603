"""Ready children: forked and isolated in advance, they wait for the spec of a run.

A spawn hands its spec and descriptors to one of them over a private socket, which takes a fraction of a millisecond.
Without one, the server forks a child as before. A ready child belongs to no run: it has no number, no lease and no
pipes, and its pid is reserved with the reaper, so that it is not taken for an orphan. It ends when the server closes
its socket or dies.

For a single-threaded process. Light to import: no Django.
"""

from __future__ import annotations

import array
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from runs.forkserver import prctl, process_tree
from runs.forkserver.reaper import Reaper

HANDOVER_MAX_BYTES = 64 * 1024
"""Largest spec that is handed over. It must fit into the buffer of a socket, so that the server never waits."""
FDS = 4
"""Descriptors of a spec: records, stdout, stderr (to write), control (to read)."""
REFILL_AFTER_S = (0.005, 0.02)
"""Pause between a spawn and the next fork in advance, in a busy and in a calm time: a run's first line comes first."""
SURPLUS_S = 2.0
"""Time without a spawn after which one ready child is kept, however many the last burst needed."""
BUSY_S = 0.03
"""Interval between two spawns below which a time is busy: then a ready child does only what it must."""
MEMORY_MIN_SHARE = 0.1
"""Share of the machine's memory below which no child is kept ready."""

READY_NAME = "athanor-ready"
"""Name of a ready child in lists of processes."""

Fork = Callable[[int, bool], int]
"""Forks a ready child that reads from this socket, in a busy or in a calm time; returns its pid."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the children that are kept ready."""

    most: int
    """Number of ready children. 0 keeps none."""
    idle_s: float
    """Time without a spawn after which they are released."""


class ReadyChildren:
    """Ready children of one fork server.

    The number grows from one by one for each spawn that finds none, up to the limit. It returns to one after a short
    idle time, and to none after a long one.
    """

    def __init__(self, fork: Fork, reaper: Reaper, limits: Limits) -> None:
        self._fork, self._reaper, self._limits = fork, reaper, limits
        self._waiting: deque[tuple[int, socket.socket]] = deque()  # pid, the server's end
        self._aim = min(1, limits.most)
        self._used_at = time.monotonic()
        self._is_calm = False
        self._failed_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def hand_over(self, spec: bytes, fds: Sequence[int]) -> int | None:
        """Give a spec to a ready child and return its pid; None if there is none. Does not close the descriptors.

        The caller checks the lease before, and adds the child to the reaper at once.
        """
        now = time.monotonic()
        self._is_calm, self._used_at = now - self._used_at >= BUSY_S, now
        self._failed_at = float("-inf")
        while self._waiting and len(spec) <= HANDOVER_MAX_BYTES:
            pid, ours = self._waiting.popleft()
            if not self._reaper.is_reserved(pid):  # it has ended
                ours.close()
            elif give(ours, spec, fds):
                ours.close()
                self._reaper.release(pid)
                return pid
            else:
                self._end(pid, ours)
        self._aim = min(self._aim + 1, self._limits.most)
        return None

    def due_in(self) -> float | None:
        """Return the seconds until `work` has something to do; None if it has nothing before the next spawn."""
        now = time.monotonic()
        if self._is_short:
            return max(self._used_at + REFILL_AFTER_S[self._is_calm] - now, 0.0)
        if not self._waiting:
            return None
        idle_s = self._limits.idle_s if len(self._waiting) == 1 else min(SURPLUS_S, self._limits.idle_s)
        return max(self._used_at + idle_s - now, 0.0)

    def work(self) -> None:
        """Fork one child if one is missing, or release one after an idle time. For an idle moment of the server."""
        if self.due_in() != 0.0:
            return
        if not self._is_short:
            self._aim = min(1, self._limits.most)
            self._end(*self._waiting.popleft())
            if not self._waiting:
                self._failed_at = time.monotonic()  # none until the next spawn
        elif memory_is_short():
            self._failed_at = time.monotonic()
            self.release_all()
        else:
            self._fork_one()

    def release_all(self) -> None:
        """End all ready children. The reaper collects them."""
        while self._waiting:
            self._end(*self._waiting.popleft())

    def _end(self, pid: int, ours: socket.socket) -> None:
        ours.close()
        if self._reaper.is_reserved(pid):
            process_tree.send(pid, signal.SIGKILL)

    @property
    def _is_short(self) -> bool:
        ended = [(pid, ours) for pid, ours in self._waiting if not self._reaper.is_reserved(pid)]
        for each in ended:  # a child that ended unused is not replaced before the next spawn
            self._waiting.remove(each)
            each[1].close()
            self._failed_at = time.monotonic()
        return len(self._waiting) < self._aim and self._failed_at < self._used_at

    def _fork_one(self) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            self._failed_at = time.monotonic()
            return
        with theirs:
            try:
                pid = self._fork(theirs.fileno(), self._is_calm)
            except OSError:
                ours.close()
                self._failed_at = time.monotonic()
                return
        ours.setblocking(False)
        self._reaper.reserve(pid)
        self._waiting.append((pid, ours))


def give(ours: socket.socket, spec: bytes, fds: Sequence[int]) -> bool:
    """Send a spec with its descriptors. Return False if the child has not taken all of it."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    with suppress(OSError):
        return ours.sendmsg([spec], rights) == len(spec)
    return False


def receive(theirs: int) -> tuple[bytes, list[int]] | None:
    """Wait for the spec and its descriptors, in the ready child; close the socket. None if there is no run for it."""
    with prctl.named(READY_NAME), socket.socket(fileno=theirs) as connection:
        data, fds, _, _ = socket.recv_fds(connection, HANDOVER_MAX_BYTES, FDS)
        if not data or len(fds) != FDS:
            return None
        parts = [data]
        while part := connection.recv(HANDOVER_MAX_BYTES):
            parts.append(part)
    return b"".join(parts), fds


def memory_is_short() -> bool:
    """Return whether little memory of the machine is available. False where that is unknown."""
    try:
        with open("/proc/meminfo", "rb", buffering=0) as file:  # noqa: PTH123  # read often
            sizes = dict(line.split()[:2] for line in file.read(400).splitlines()[:3])
        return int(sizes[b"MemAvailable:"]) < MEMORY_MIN_SHARE * int(sizes[b"MemTotal:"])
    except (OSError, KeyError, ValueError):
        return False
