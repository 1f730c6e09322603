"""Measures of one job system, the same code for Athanor, its peers, and a plain fork.

It needs the standard library only: for a peer it runs in the peer's own environment. A queue is anything with the
methods of `Queue`.
"""

from __future__ import annotations

import json
import random
import socket
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

ANSWER_S = 60.0
BURST_S = 300.0
POLL_S = 0.01


class Queue(Protocol):
    """A job system whose workers run."""

    def submit(self, job: str, *values: Any, single: bool = False) -> Any:
        """Submit a job of `benchmarks.work`; with `single`, to the workers with one slot. Return its handle."""

    def is_final(self, handle: Any) -> bool:
        """Return whether the job has ended and its result is stored. Raises RuntimeError if it failed."""


class Mailbox:
    """Receives what user code tells."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="box-", dir="/tmp")
        self.path = str(Path(self._folder.name) / "socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        Path(self._folder.name).chmod(0o711)

    def get(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the next message. Raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        message: dict[str, Any] = json.loads(self._socket.recv(65536))
        return message

    def close(self) -> None:
        self._socket.close()
        self._folder.cleanup()


class Contest:
    """Measures a queue."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.box = queue, Mailbox()

    def warm_up(self, *, single: bool = True) -> None:
        """Execute one job on each kind of worker; without `single`, not on those with one slot."""
        for on_single in (False, True) if single else (False,):
            self._await(self.queue.submit("stamp", self.box.path, single=on_single))
            self.box.get()

    def first_line(self, count: int) -> list[float]:
        """Return the ms from the submission of a job to its first line of user code, one job at a time."""
        took = []
        for _ in range(count):
            began = time.monotonic_ns()
            handle = self.queue.submit("stamp", self.box.path)
            took.append((self.box.get()["began"] - began) / 1e6)
            self._await(handle)
            time.sleep(random.uniform(0.02, 0.1))  # no rhythm that a poller could meet
        return took

    def waited(self, count: int) -> list[float]:
        """Return the ms from the last line of user code of a job to the first of the next, which waits for its slot."""
        handles = [self.queue.submit("brief", self.box.path, number, single=True) for number in range(count + 1)]
        told = sorted((self.box.get() for _ in handles), key=lambda message: message["began"])
        for handle in handles:
            self._await(handle)
        return [(after["began"] - before["ended"]) / 1e6 for before, after in pairwise(told)]

    def burst(self, count: int) -> dict[str, float]:
        """Return the jobs a second from the first submission to the last stored end, for jobs that do nothing."""
        began = time.monotonic()
        handles = [self.queue.submit("noop") for _ in range(count)]
        submitted = time.monotonic()
        for handle in reversed(handles):
            self._await(handle, every_s=0.02)
        return {"jobs_s": count / (time.monotonic() - began), "submitted_s": count / (submitted - began)}

    def submitted(self, count: int) -> float:
        """Return the jobs submitted a second."""
        began = time.monotonic()
        for _ in range(count):
            self.queue.submit("noop")
        return count / (time.monotonic() - began)

    def asleep(self, count: int, seconds: float) -> list[int]:
        """Start jobs that sleep; return their pids once all have begun."""
        for _ in range(count):
            self.queue.submit("sleeper", self.box.path, seconds)
        return [int(self.box.get()["pid"]) for _ in range(count)]

    def _await(self, handle: Any, every_s: float = POLL_S) -> None:
        deadline = time.monotonic() + BURST_S
        while not self.queue.is_final(handle):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The job {handle} did not end within {BURST_S:g} s.")
            time.sleep(every_s)


def pss_mib(pids: list[int]) -> float:
    """Return the memory of processes, in which a page that several share counts once. Linux only."""
    return sum(_pss_kib(pid) for pid in pids) / 1024


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def tree(roots: list[int]) -> list[int]:
    """Return the processes and all below them, in other sessions too."""
    parents = {pid: _parent(pid) for pid in _pids()}
    found = {root for root in roots if root in parents}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
