"""The fork server's children, from their fork until nothing of them is left. For a process with one thread.

A child's end is told only when everything below it is gone: what it leaves behind becomes a child of this process,
which kills it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from resource import struct_rusage

from runs.forkserver import prctl, process_tree
from runs.forkserver.protocol import Exited
from runs.forkserver.spec import Fate

LATE_S = 10.0
"""Leases that expire within this time of each other have one cause: the worker could not renew them."""

_RSS_UNIT = 1024 if prctl.IS_LINUX else 1


@dataclass(slots=True)
class _Ended:
    """A child that is dead, while what it left behind is being killed."""

    number: int
    status: int | None
    signal: int | None
    usage: struct_rusage
    killed: int = 0
    fate: Fate = Fate.NONE
    company: int = 0
    orphans: set[int] = field(default_factory=set)
    """Not gone yet."""


class Reaper:
    """Knows the children by pid and by the worker's number. Pids are safe to use: they are not reaped elsewhere."""

    def __init__(self) -> None:
        self._children: dict[int, int] = {}  # pid → number, of those that are not reaped
        self._killed: dict[int, int] = {}  # pid → how many below it were killed
        self._fates: dict[int, tuple[Fate, int]] = {}  # pid → why it was killed, and its company
        self._late: dict[int, float] = {}  # number → when it was killed since its lease had expired
        self._ended: list[_Ended] = []
        self._orphans: set[int] = set()
        self._trackers: dict[int, float] = {}  # pid of an orphaned resource tracker → when it is killed

    @property
    def has_children(self) -> bool:
        """Some child lives."""
        return bool(self._children)

    @property
    def has_dead(self) -> bool:
        """Some child has ended, and its end is not told yet."""
        return bool(self._ended)

    def add(self, pid: int, number: int) -> None:
        self._children[pid] = number

    def pids(self, number: int | None = None) -> list[int]:
        """Of the child with this number, if it lives; of all living children without one."""
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
        """Take the exit status of every process that has ended: children, and orphans that came to this process."""
        with suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if os.WIFSTOPPED(status):  # it lives: only a process that is traced by this one is reported then
                    prctl.stop_tracing(pid, os.WSTOPSIG(status))
                    continue
                self._gone(pid, os.waitstatus_to_exitcode(status), usage)

    def sweep(self) -> list[Exited]:
        """Kill this process' children that are no run's child: what the dead left. Returns the ends of those whose all
        is gone.

        An orphan counts for every child that was dead when it came, since nothing tells whose it was.
        """
        if not self._ended:
            return []
        found = process_tree.own_children() - self._children.keys()
        for pid in found:
            if not self._may_clean_up(pid):
                process_tree.send(pid, signal.SIGKILL)
        new = found - self._orphans
        self._orphans |= found
        for ended in self._ended:
            ended.orphans |= new
            ended.killed += len(new - self._trackers.keys())
        if new:
            return []
        gone = [ended for ended in self._ended if not ended.orphans]
        self._ended = [ended for ended in self._ended if ended.orphans]
        return [_exited(ended) for ended in gone]

    def _may_clean_up(self, pid: int) -> bool:
        """Tell whether an orphan is a resource tracker that has time left to remove what the dead process leaked."""
        if pid not in self._trackers:
            if pid in self._orphans or not process_tree.is_resource_tracker(pid):
                return False
            self._trackers[pid] = time.monotonic() + process_tree.TRACKER_GRACE_S
        return time.monotonic() < self._trackers[pid]

    def _gone(self, pid: int, code: int, usage: struct_rusage) -> None:
        number = self._children.pop(pid, None)
        if number is None:
            self._orphans.discard(pid)
            self._trackers.pop(pid, None)
            for ended in self._ended:
                ended.orphans.discard(pid)
            return
        if not prctl.IS_LINUX:
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        fate, company = self._fates.pop(pid, (Fate.NONE, 0))
        self._ended.append(
            _Ended(
                number,
                status=code if code >= 0 else None,
                signal=-code if code < 0 else None,
                usage=usage,
                killed=self._killed.pop(pid, 0),
                fate=fate,
                company=company,
            )
        )


def _exited(ended: _Ended) -> Exited:
    return Exited(
        id=ended.number,
        status=ended.status,
        signal=ended.signal,
        cpu_seconds=ended.usage.ru_utime + ended.usage.ru_stime,
        peak_memory_bytes=ended.usage.ru_maxrss * _RSS_UNIT,
        orphans_killed=ended.killed,
        fate=ended.fate if ended.signal == signal.SIGKILL else Fate.NONE,
        company=ended.company,
    )
