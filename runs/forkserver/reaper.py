"""Children of the fork server, from their fork until no process of them remains. For a single-threaded process.

The exit of a child is reported only when everything below it has ended. Its orphans become children of this process,
which kills them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from resource import struct_rusage

from runs.forkserver import prctl, process_tree
from runs.forkserver.protocol import Exited
from runs.forkserver.spec import Exit, Fate

LATE_S = 10.0
"""Leases that expire within this time of each other have one cause: the worker could not renew them."""

_RSS_UNIT = 1024 if prctl.IS_LINUX else 1


@dataclass(slots=True)
class _DeadChild:
    """A dead child whose orphans are being killed."""

    number: int
    status: int | None
    signal: int | None
    usage: struct_rusage
    killed: int = 0
    fate: Fate = Fate.NONE
    company: int = 0
    orphans: set[int] = field(default_factory=set)
    """Pids of those that have not ended yet."""


class Reaper:
    """Map children by pid and by the worker's number. Pids cannot be reused: only this class reaps them."""

    def __init__(self) -> None:
        self._children: dict[int, int] = {}  # pid → number, of children that are not reaped
        self.announced: Callable[[], object] = lambda: None
        """Reserves the adopted processes that are no orphans. Called before orphans are killed."""
        self._reserved: set[int] = set()  # pids of own processes that are no run's child
        self._killed: dict[int, int] = {}  # pid → number of its descendants that were killed
        self._fates: dict[int, tuple[Fate, int]] = {}  # pid → why it was killed, and its company
        self._late: dict[int, float] = {}  # number → when it was killed since its lease had expired
        self._dead: list[_DeadChild] = []
        self._orphans: set[int] = set()
        self._trackers: dict[int, float] = {}  # pid of an orphan that may clean up → when it was adopted

    @property
    def has_children(self) -> bool:
        """True while a child is alive."""
        return bool(self._children)

    @property
    def has_unreported(self) -> bool:
        """True while the exit of a dead child is not reported yet."""
        return bool(self._dead)

    @property
    def has_reserved(self) -> bool:
        """True while a reserved process is not reaped."""
        return bool(self._reserved)

    def add(self, pid: int, number: int) -> None:
        self._children[pid] = number

    def reserve(self, pid: int) -> None:
        """Keep a process of the server's own (a ready child, for example) from being killed as an orphan.

        The reservation ends when the process is reaped, or with `release`.
        """
        self._reserved.add(pid)

    def is_reserved(self, pid: int) -> bool:
        """Return False once a reserved process has ended and is reaped: its pid may then be reused."""
        return pid in self._reserved

    def release(self, pid: int) -> None:
        """End a reservation, to `add` the process as a child at once."""
        self._reserved.discard(pid)

    def pids(self, number: int | None = None) -> list[int]:
        """Return the pid of the living child with this number, or of all living children."""
        return [pid for pid, other in self._children.items() if number in (None, other)]

    def kill(self, pids: Collection[int], fate: Fate = Fate.NONE) -> None:
        """Kill these children and everything below them."""
        now = time.monotonic()
        self._late = {number: at for number, at in self._late.items() if now - at < LATE_S}
        numbers = {pid: self._children[pid] for pid in pids}
        candidates = {*self._children.values(), *self._late}
        for pid, number in numbers.items():
            self._fates.setdefault(pid, (fate, len(candidates - {number})))
        if fate == Fate.LEASE:
            self._late |= dict.fromkeys(numbers.values(), now)
        for pid, killed in process_tree.kill_trees(pids).items():
            self._killed[pid] = self._killed.get(pid, 0) + killed

    def reap(self) -> None:
        """Collect the exit status of every process that has ended: children and adopted orphans."""
        with suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if os.WIFSTOPPED(status):  # alive: only traced processes are reported so
                    prctl.stop_tracing(pid, os.WSTOPSIG(status))
                    continue
                self._on_exit(pid, os.waitstatus_to_exitcode(status), usage)

    def sweep(self) -> list[Exited]:
        """Kill the adopted orphans. Return the exits of the dead children that have none left.

        An orphan counts for every child that was dead when it was adopted, since its origin is unknown.
        """
        if not self._dead:
            return []
        adopted = process_tree.own_children()
        self.announced()  # each process that was adopted before that is announced by now
        orphans = adopted - self._children.keys() - self._reserved
        for pid in orphans:
            if not self._may_clean_up(pid):
                process_tree.send(pid, signal.SIGKILL)
        new = orphans - self._orphans
        self._orphans |= orphans
        for child in self._dead:
            child.orphans |= new
            child.killed += len(new - self._trackers.keys())
        if new:
            return []
        finished = [child for child in self._dead if not child.orphans]
        self._dead = [child for child in self._dead if child.orphans]
        return [_exited(child) for child in finished]

    def _may_clean_up(self, pid: int) -> bool:
        """Return whether an orphan has time left to remove what the dead process leaked, as resource trackers do."""
        if pid in self._orphans and pid not in self._trackers:
            return False
        now = time.monotonic()
        if now - self._trackers.get(pid, now) < process_tree.clean_up_time_s(pid):
            self._trackers.setdefault(pid, now)
            return True
        return False

    def _on_exit(self, pid: int, code: int, usage: struct_rusage) -> None:
        number = self._children.pop(pid, None)
        if pid in self._reserved:
            self._reserved.discard(pid)
            return
        if number is None:
            self._orphans.discard(pid)
            self._trackers.pop(pid, None)
            for child in self._dead:
                child.orphans.discard(pid)
            return
        if not prctl.IS_LINUX:
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        fate, company = self._fates.pop(pid, (Fate.NONE, 0))
        self._dead.append(
            _DeadChild(
                number,
                status=code if code >= 0 else None,
                signal=-code if code < 0 else None,
                usage=usage,
                killed=self._killed.pop(pid, 0),
                fate=fate,
                company=company,
            )
        )


def _exited(child: _DeadChild) -> Exited:
    exit_ = Exit(
        status=child.status,
        signal=child.signal,
        cpu_seconds=child.usage.ru_utime + child.usage.ru_stime,
        peak_memory_bytes=child.usage.ru_maxrss * _RSS_UNIT,
        orphans_killed=child.killed,
        fate=child.fate if child.signal == signal.SIGKILL else Fate.NONE,
        company=child.company,
    )
    return Exited(child.number, exit_)
