"""Every fault: how it is done, and how it is undone. Each is one function, which returns what undoes it.

A fault raises NoTarget if there is nothing to act on; then nothing was done.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from django.db import DatabaseError
from kombu.exceptions import KombuError
from redis import RedisError

from athanor.chaos import databases
from athanor.chaos.plan import Planned, Spec
from athanor.chaos.stage import BY, Live, NoTarget, Stage, chosen
from athanor.databases import BROKER_KEY_PREFIX, redis_socket
from athanor.up.roles import RUNS_QUEUE
from runs import services, tasks
from runs.exceptions import RunsError

Undo = Callable[[], None] | None
Begin = Callable[[Stage, Planned], Undo]

HOUR_S = 3600.0
EXTRA_MESSAGES = 20
FLOOD = {"steps": 4, "lines": 8000, "pause_s": 0.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """`seconds` or `leases`: how long it lasts, from and to."""

    name: str
    text: str
    begin: Begin
    weight: int
    seconds: tuple[float, float]
    leases: tuple[float, float]
    needs: str
    """What the stage must have: `place`, `redis` (one of the group's own), `sqlite`, `postgresql`; or nothing."""

    def spec(self, lease_s: float) -> Spec:
        shortest, longest = (a + b * lease_s for a, b in zip(self.seconds, self.leases, strict=True))
        return Spec(self.weight, shortest, longest)

    def fits(self, stage: Stage) -> bool:
        has = {stage.database, *(["place"] if stage.place else []), *(["redis"] if stage.has_own_redis else [])}
        return set(self.needs.split()) <= has


FAULTS: dict[str, Fault] = {}


def fault(
    text: str,
    *,
    weight: int = 1,
    seconds: tuple[float, float] = (0.0, 0.0),
    leases: tuple[float, float] = (0.0, 0.0),
    needs: str = "",
) -> Callable[[Begin], Begin]:
    def enter(begin: Begin) -> Begin:
        FAULTS[begin.__name__] = Fault(begin.__name__, text, begin, weight, seconds, leases, needs)
        return begin

    return enter


def _kill(role: str, planned: Planned, stage: Stage, number: signal.Signals = signal.SIGKILL) -> Live:
    live = chosen(stage.members(role), planned.luck)
    live.send(number)
    return live


def _freeze(role: str, planned: Planned, stage: Stage) -> Undo:
    live = _kill(role, planned, stage, signal.SIGSTOP)
    return partial(live.send, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    Live("", pid).send(number)


# Children and what they are forked from


@fault("SIGKILL to the process of a run", weight=4)
def kill_child(stage: Stage, planned: Planned) -> Undo:
    _send(chosen(stage.children(), planned.luck), signal.SIGKILL)
    return None


@fault("SIGSTOP to the process of a run for some seconds", weight=2, seconds=(0.5, 3.0))
def freeze_child(stage: Stage, planned: Planned) -> Undo:
    pid = chosen(stage.children(), planned.luck)
    _send(pid, signal.SIGSTOP)
    return partial(_send, pid, signal.SIGCONT)


@fault("SIGKILL to a fork server", weight=2)
def kill_fork_server(stage: Stage, planned: Planned) -> Undo:
    _send(chosen(stage.fork_servers(), planned.luck)[1], signal.SIGKILL)
    return None


@fault("SIGKILL to the keeper of a fork server")
def kill_keeper(stage: Stage, planned: Planned) -> Undo:
    _send(chosen(stage.fork_servers(), planned.luck)[0], signal.SIGKILL)
    return None


@fault("SIGSTOP to a fork server for less than a second", seconds=(0.2, 0.8))
def freeze_fork_server(stage: Stage, planned: Planned) -> Undo:
    """Shorter than the margin of a lease: it is the one that ends what its worker cannot."""
    pid = chosen(stage.fork_servers(), planned.luck)[1]
    _send(pid, signal.SIGSTOP)
    return partial(_send, pid, signal.SIGCONT)


# Workers, beat, web


@fault("SIGKILL to a worker of runs", weight=5)
def kill_worker(stage: Stage, planned: Planned) -> Undo:
    _kill("runs", planned, stage)
    return None


@fault("SIGSTOP to a worker of runs for more than a lease", weight=3, leases=(1.2, 2.5))
def freeze_worker(stage: Stage, planned: Planned) -> Undo:
    return _freeze("runs", planned, stage)


@fault("SIGSTOP to a worker of runs for less than a lease", seconds=(0.3, 2.0))
def pause_worker(stage: Stage, planned: Planned) -> Undo:
    return _freeze("runs", planned, stage)


@fault("SIGTERM to a worker of runs: it drains", weight=3)
def drain_worker(stage: Stage, planned: Planned) -> Undo:
    _kill("runs", planned, stage, signal.SIGTERM)
    return None


@fault("SIGTERM to a worker of runs, and again a moment later", seconds=(0.2, 1.0))
def hurry_worker(stage: Stage, planned: Planned) -> Undo:
    return partial(_kill("runs", planned, stage, signal.SIGTERM).send, signal.SIGTERM)


@fault("SIGQUIT to a worker of runs: it hurries")
def quit_worker(stage: Stage, planned: Planned) -> Undo:
    _kill("runs", planned, stage, signal.SIGQUIT)
    return None


@fault("SIGKILL to the system worker", weight=2)
def kill_system(stage: Stage, planned: Planned) -> Undo:
    _kill("system", planned, stage)
    return None


@fault("SIGSTOP to the system worker for some seconds", seconds=(1.0, 6.0))
def freeze_system(stage: Stage, planned: Planned) -> Undo:
    return _freeze("system", planned, stage)


@fault("SIGKILL to beat")
def kill_beat(stage: Stage, planned: Planned) -> Undo:
    _kill("beat", planned, stage)
    return None


@fault("SIGSTOP to beat for some seconds", seconds=(1.0, 6.0))
def freeze_beat(stage: Stage, planned: Planned) -> Undo:
    return _freeze("beat", planned, stage)


@fault("SIGKILL to the web server")
def kill_web(stage: Stage, planned: Planned) -> Undo:
    _kill("web", planned, stage)
    return None


@fault("SIGSTOP to the web server for some seconds", seconds=(1.0, 4.0))
def freeze_web(stage: Stage, planned: Planned) -> Undo:
    return _freeze("web", planned, stage)


@fault(
    "the wall clock of a worker or of beat is an hour off for some seconds", weight=2, seconds=(2.0, 8.0), needs="place"
)
def move_clock(stage: Stage, planned: Planned) -> Undo:
    if stage.place is None:
        raise NoTarget("only a throwaway stack has clocks to move")
    file = chosen(sorted(stage.place.clocks.iterdir()), planned.luck)

    def move(seconds: float) -> None:
        with file.open("r+b") as clock:
            os.pwrite(clock.fileno(), struct.pack("d", seconds), 0)

    move(HOUR_S if planned.number % 2 else -HOUR_S)
    return partial(move, 0.0)


# Redis


@fault("SIGKILL to Redis", weight=2, needs="redis")
def kill_redis(stage: Stage, planned: Planned) -> Undo:
    """Of what it promised its disk, it may forget the last second."""
    stage.samples.forget(partial(_kill, "redis", planned, stage))
    return None


@fault("SIGTERM to Redis, which is started again", needs="redis")
def restart_redis(stage: Stage, planned: Planned) -> Undo:
    _kill("redis", planned, stage, signal.SIGTERM)
    return None


@fault("nobody reaches Redis for some seconds", weight=2, seconds=(1.0, 6.0), needs="redis")
def stop_redis(stage: Stage, _planned: Planned) -> Undo:
    """Its group would start a stopped one at once; so its socket is moved away, and who is connected is cut off."""
    socket = redis_socket(stage.var)
    aside = socket.with_name("redis.aside")
    with _redis_or_no_target(), stage.redis() as client:
        client.ping()
        socket.rename(aside)
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def undo() -> None:
        if socket.exists():  # of one that was killed and started meanwhile
            aside.unlink(missing_ok=True)
        else:
            aside.rename(socket)

    return undo


@fault("SIGSTOP to Redis for some seconds", weight=2, seconds=(0.5, 6.0), needs="redis")
def freeze_redis(stage: Stage, planned: Planned) -> Undo:
    return _freeze("redis", planned, stage)


@fault("FLUSHALL", weight=3, needs="redis")
def wipe_redis(stage: Stage, _planned: Planned) -> Undo:
    with _redis_or_no_target(), stage.redis() as client:
        stage.samples.forget(client.flushall)
    return None


@fault("Redis has no memory left for some seconds", seconds=(1.0, 4.0), needs="redis")
def fill_redis(stage: Stage, _planned: Planned) -> Undo:
    with _redis_or_no_target(), stage.redis() as client:
        before = str(client.config_get("maxmemory")["maxmemory"])
        client.config_set("maxmemory", "1")

    def undo() -> None:
        with suppress(RedisError), stage.redis() as client:
            client.config_set("maxmemory", before)

    return undo


@fault("every connection to Redis is cut, and wake-ups in the queue are lost", needs="redis")
def lose_messages(stage: Stage, _planned: Planned) -> Undo:
    with _redis_or_no_target(), stage.redis() as client:
        client.delete(f"{BROKER_KEY_PREFIX}{RUNS_QUEUE}")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return None


@fault("wake-ups come many times")
def double_messages(_stage: Stage, _planned: Planned) -> Undo:
    tasks.wake(RUNS_QUEUE, EXTRA_MESSAGES)
    return None


class _redis_or_no_target:  # noqa: N801  # a context manager, used as one
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RedisError | OSError):
            raise NoTarget("Redis is away") from error


# The database


@fault("the database takes no writes for some seconds", weight=2, seconds=(1.0, 4.0), leases=(0.0, 1.0))
def lock_database(_stage: Stage, planned: Planned) -> Undo:
    return databases.lock(planned.length_s)


@fault("every connection to the database is cut", weight=2, needs="postgresql")
def cut_database(_stage: Stage, _planned: Planned) -> Undo:
    databases.cut_connections()
    return None


@fault(
    "the database is shut down for some seconds",
    weight=2,
    seconds=(1.0, 0.0),
    leases=(0.0, 2.0),
    needs="place postgresql",
)
def stop_database(stage: Stage, _planned: Planned) -> Undo:
    server = databases.of_place(stage.place)
    server.stop()
    return server.start


@fault("SIGKILL to the database, which is started again", seconds=(0.5, 3.0), needs="place postgresql")
def kill_database(stage: Stage, _planned: Planned) -> Undo:
    server = databases.of_place(stage.place)
    server.kill()
    return server.start


@fault("SIGSTOP to the database for some seconds", seconds=(1.0, 0.0), leases=(0.0, 2.0), needs="place postgresql")
def freeze_database(stage: Stage, _planned: Planned) -> Undo:
    server = databases.of_place(stage.place)
    server.freeze()
    return server.thaw


# Runs


@fault("a run is cancelled", weight=3)
def cancel_run(stage: Stage, planned: Planned) -> Undo:
    run_id = chosen(stage.active(), planned.luck)
    try:
        services.cancel(run_id, by=BY)
    except (DatabaseError, RunsError) as error:
        raise NoTarget("the database is away") from error
    return None


@fault("a run floods the buffer until its supervisor has to wait", weight=2)
def flood(stage: Stage, planned: Planned) -> Undo:
    try:
        services.launch("chaos_probe", configuration=FLOOD, seed=planned.number, via=stage.via, priority=1)
    except (DatabaseError, KombuError) as error:
        raise NoTarget("the database is away") from error
    return None
