"""Targets of faults: processes of a stack, its Redis, its database, and the runs that chaos launched on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Q, QuerySet
from redis import Redis

from athanor.chaos.place import Place
from athanor.chaos.sampling import Samples
from athanor.embedded import redis
from athanor.up import status
from runs.forkserver import machine
from runs.models import Attempt, Run, Schedule
from runs.states import ACTIVE

T = TypeVar("T")

BY = "chaos"
FORK_SERVER = "runs.forkserver.keeper"


class NoTarget(Exception):
    """Raised if a fault has no target at this time; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Live:
    """Living process of the group."""

    role: str
    pid: int

    def send(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the process has exited."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@dataclass(slots=True)
class Stage:
    """One stack during a campaign."""

    var: Path
    token: str
    """Mark of the runs that chaos launched."""
    place: Place | None = None
    """Throwaway stack; None for the user's own stack."""
    samples: Samples = field(default_factory=Samples)
    schedules: list[int] = field(default_factory=list)

    @property
    def via(self) -> str:
        return f"{BY}:{self.token}"

    def runs(self) -> QuerySet[Run]:
        """Return the runs that chaos launched, directly or by its schedules."""
        return Run.objects.filter(Q(launched_via=self.via) | Q(schedule__in=self.schedules))

    def schedule_rows(self) -> QuerySet[Schedule]:
        return Schedule.objects.filter(pk__in=self.schedules)

    # Processes

    def group(self) -> list[Live]:
        """Return the living processes of the group, from its status file."""
        stored = status.current(status.Files(self.var))
        return [
            Live(entry["role"], entry["pid"])
            for entry in stored["processes"]
            if entry["pid"] is not None and status.alive(entry["pid"], entry["create_time"])
        ]

    def members(self, role: str) -> list[Live]:
        """Return the processes of a role; `runs` are all workers of runs. Raises NoTarget."""
        processes = [live for live in self.group() if live.role.rstrip("0123456789") == role]
        if not processes:
            raise NoTarget(f"no {role} is running")
        return processes

    def children(self) -> list[int]:
        """Return the pids of the children of runs that chaos launched. Raises NoTarget."""
        workers = {live.pid for live in self.members("runs")}
        attempts = Attempt.objects.filter(
            run__in=self.runs(), finished_at=None, worker__host=machine.host(), child_pid__isnull=False
        )
        try:
            pids = list(attempts.order_by("id").values_list("child_pid", flat=True))
        except DatabaseError as error:
            raise NoTarget("the database is unavailable") from error
        targets = [pid for pid in pids if pid is not None and workers & _ancestors(pid)]
        if not targets:
            raise NoTarget("no run of chaos is running")
        return targets

    def fork_servers(self) -> list[tuple[int, int]]:
        """Return (keeper, server) of each worker. Raises NoTarget."""
        pairs = []
        for worker in self.members("runs"):
            with suppress(psutil.Error):
                for keeper in psutil.Process(worker.pid).children():
                    servers = keeper.children()
                    if FORK_SERVER in keeper.cmdline() and servers:
                        pairs.append((keeper.pid, min(servers, key=psutil.Process.create_time).pid))
        if not pairs:
            raise NoTarget("no fork server is running")
        return pairs

    def thaw(self) -> None:
        """Thaw all processes."""
        for live in self.group():
            live.send(signal.SIGCONT)
        with suppress(NoTarget):
            for pair in self.fork_servers():
                for pid in pair:
                    os.kill(pid, signal.SIGCONT)
        with suppress(NoTarget, ProcessLookupError):
            for pid in self.children():
                os.kill(pid, signal.SIGCONT)

    # Redis, database, runs

    @property
    def has_own_redis(self) -> bool:
        """True if Redis belongs to the group, and no other program has data in it."""
        return any(entry["role"] == "redis" for entry in status.current(status.Files(self.var))["processes"])

    @staticmethod
    def redis() -> Redis:
        """Return a client that times out after a second. The caller closes it."""
        return redis.client(settings.REDIS_URL)

    @property
    def database(self) -> str:
        """Vendor of the database: `sqlite` or `postgresql`."""
        return connection.vendor

    def active(self) -> list[int]:
        """Return the ids of active runs. Raises NoTarget if the database is unavailable."""
        try:
            return list(self.runs().filter(status__in=ACTIVE).order_by("id").values_list("id", flat=True))
        except DatabaseError as error:
            raise NoTarget("the database is unavailable") from error


def choose(candidates: Sequence[T], luck: float) -> T:
    """Return the candidate selected by luck in [0, 1). Raises NoTarget if there is none."""
    if not candidates:
        raise NoTarget("there are no candidates")
    return candidates[int(luck * len(candidates))]


def _ancestors(pid: int) -> set[int]:
    with suppress(psutil.Error):
        return {process.pid for process in psutil.Process(pid).parents()}
    return set()
