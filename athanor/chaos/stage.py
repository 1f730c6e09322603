"""What faults act on: the processes of a stack, its Redis, its database, and the runs that chaos has launched on it."""

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
    """A fault finds nothing to act on at this moment; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Live:
    """A living process of the group."""

    role: str
    pid: int

    def send(self, number: signal.Signals) -> None:
        """Harmless if it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@dataclass(slots=True)
class Stage:
    """One stack while chaos is at work on it."""

    var: Path
    token: str
    """Marks the runs that chaos has launched."""
    place: Place | None = None
    """None: the user's own stack."""
    samples: Samples = field(default_factory=Samples)
    schedules: list[int] = field(default_factory=list)

    @property
    def via(self) -> str:
        return f"{BY}:{self.token}"

    def runs(self) -> QuerySet[Run]:
        """Everything that chaos has launched, itself or by its schedules."""
        return Run.objects.filter(Q(launched_via=self.via) | Q(schedule__in=self.schedules))

    def schedule_rows(self) -> QuerySet[Schedule]:
        return Schedule.objects.filter(pk__in=self.schedules)

    # Processes

    def group(self) -> list[Live]:
        """The living processes of the group, as it says itself."""
        stored = status.current(status.Files(self.var))
        return [
            Live(entry["role"], entry["pid"])
            for entry in stored["processes"]
            if entry["pid"] is not None and status.alive(entry["pid"], entry["create_time"])
        ]

    def members(self, role: str) -> list[Live]:
        """Those of a role; `runs` are all workers of runs. Raises NoTarget."""
        found = [live for live in self.group() if live.role.rstrip("0123456789") == role]
        if not found:
            raise NoTarget(f"no {role} lives")
        return found

    def children(self) -> list[int]:
        """Pids of the processes of the runs that chaos has launched. Raises NoTarget."""
        workers = {live.pid for live in self.members("runs")}
        attempts = Attempt.objects.filter(
            run__in=self.runs(), finished_at=None, worker__host=machine.host(), child_pid__isnull=False
        )
        try:
            pids = list(attempts.order_by("id").values_list("child_pid", flat=True))
        except DatabaseError as error:
            raise NoTarget("the database is away") from error
        found = [pid for pid in pids if pid is not None and workers & _forebears(pid)]
        if not found:
            raise NoTarget("no run of chaos is being executed")
        return found

    def fork_servers(self) -> list[tuple[int, int]]:
        """(keeper, server) of each worker. Raises NoTarget."""
        found = []
        for worker in self.members("runs"):
            with suppress(psutil.Error):
                for keeper in psutil.Process(worker.pid).children():
                    servers = keeper.children()
                    if FORK_SERVER in keeper.cmdline() and servers:
                        found.append((keeper.pid, min(servers, key=psutil.Process.create_time).pid))
        if not found:
            raise NoTarget("no fork server lives")
        return found

    def thaw(self) -> None:
        """Nothing stays frozen."""
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
        """Whether the Redis is the group's, and no other program's data lie in it."""
        return any(entry["role"] == "redis" for entry in status.current(status.Files(self.var))["processes"])

    @staticmethod
    def redis() -> Redis:
        """A client that gives up within a second. The caller closes it."""
        return redis.client(settings.REDIS_URL)

    @property
    def database(self) -> str:
        """`sqlite` or `postgresql`."""
        return connection.vendor

    def active(self) -> list[int]:
        """Ids of the runs that have no end yet. Raises NoTarget if the database is away."""
        try:
            return list(self.runs().filter(status__in=ACTIVE).order_by("id").values_list("id", flat=True))
        except DatabaseError as error:
            raise NoTarget("the database is away") from error


def chosen(candidates: Sequence[T], luck: float) -> T:
    """The one that luck in [0, 1) means. Raises NoTarget if there is none."""
    if not candidates:
        raise NoTarget("there is nothing to choose from")
    return candidates[int(luck * len(candidates))]


def _forebears(pid: int) -> set[int]:
    with suppress(psutil.Error):
        return {process.pid for process in psutil.Process(pid).parents()}
    return set()
