"""Faults of Redis and of the database."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import psutil
from redis import RedisError

from athanor.chaos import databases
from athanor.chaos.faults.base import Undo, fault, freeze, kill
from athanor.chaos.plan import Planned
from athanor.chaos.stage import NoTarget, Stage, choose
from athanor.databases import BROKER_KEY_PREFIX, redis_socket
from athanor.up.roles import RUNS_QUEUE
from runs import wake

EXTRA_MESSAGES = 20
FULL = "1"
"""Value of maxmemory, in bytes, that refuses all writes."""
KIB = 1024

# Redis


@fault("SIGKILL to Redis", weight=2, needs="redis")
def kill_redis(stage: Stage, planned: Planned) -> Undo:
    """Redis may lose the last second before the kill: it syncs its file once a second."""
    stage.samples.forget(partial(kill, "redis", planned, stage))
    return None


@fault("SIGTERM to Redis, which is restarted", needs="redis")
def restart_redis(stage: Stage, planned: Planned) -> Undo:
    kill("redis", planned, stage, signal.SIGTERM)
    return None


@fault("Redis is unreachable for some seconds", weight=2, seconds=(1.0, 6.0), needs="redis")
def stop_redis(stage: Stage, _planned: Planned) -> Undo:
    """Move the socket away and end all connections: the group would restart a stopped Redis at once."""
    socket = redis_socket(stage.var)
    aside = socket.with_name("redis.aside")
    with redis_or_no_target(), stage.redis() as client:
        client.ping()
        socket.rename(aside)
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def undo() -> None:
        if socket.exists():  # of a Redis that was killed and restarted meanwhile
            aside.unlink(missing_ok=True)
        else:
            aside.rename(socket)

    return undo


@fault("SIGSTOP to Redis for some seconds", weight=2, seconds=(0.5, 6.0), needs="redis")
def freeze_redis(stage: Stage, planned: Planned) -> Undo:
    return freeze("redis", planned, stage)


@fault("FLUSHALL", weight=3, needs="redis")
def wipe_redis(stage: Stage, _planned: Planned) -> Undo:
    with redis_or_no_target(), stage.redis() as client:
        stage.samples.forget(client.flushall)
    return None


@fault("Redis has no memory left for some seconds", seconds=(1.0, 4.0), needs="redis")
def fill_redis(stage: Stage, _planned: Planned) -> Undo:
    with redis_or_no_target(), stage.redis() as client:
        before = str(client.config_get("maxmemory")["maxmemory"])
        if before == FULL:
            raise NoTarget("Redis is full already")
        client.config_set("maxmemory", FULL)

    def undo() -> None:
        with stage.redis() as client:
            client.config_set("maxmemory", before)

    return undo


@fault("no file of Redis can grow for some seconds, as on a full disk", seconds=(1.0, 5.0), needs="redis")
def fill_disk(stage: Stage, planned: Planned) -> Undo:
    """Limit the size of files that Redis may write, such as its append-only file."""
    pid = choose(stage.members("redis"), planned.luck).pid
    limit = getattr(psutil.Process, "rlimit", None)
    if limit is None:
        raise NoTarget("this system sets no limit to the files of another process")
    append_only = [file.stat().st_size for file in stage.var.rglob("appendonly*") if file.is_file()]
    _, hardest = limit(psutil.Process(pid), resource.RLIMIT_FSIZE)
    limit(psutil.Process(pid), resource.RLIMIT_FSIZE, (max(append_only, default=0) + KIB, hardest))

    def undo() -> None:
        with suppress(psutil.NoSuchProcess):
            limit(psutil.Process(pid), resource.RLIMIT_FSIZE, (hardest, hardest))

    return undo


@fault("all connections to Redis are closed, and wake-ups in the queue are lost", needs="redis")
def lose_messages(stage: Stage, _planned: Planned) -> Undo:
    with redis_or_no_target(), stage.redis() as client:
        client.delete(f"{BROKER_KEY_PREFIX}{RUNS_QUEUE}")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return None


@fault("wake-ups are sent many times")
def double_messages(_stage: Stage, _planned: Planned) -> Undo:
    wake.workers(RUNS_QUEUE, EXTRA_MESSAGES)
    return None


@contextmanager
def redis_or_no_target() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise NoTarget("Redis is unavailable") from error


# The database


@fault("the database accepts no writes for some seconds", weight=2, seconds=(1.0, 4.0), leases=(0.0, 1.0))
def lock_database(_stage: Stage, planned: Planned) -> Undo:
    return databases.lock(planned.length_s)


@fault("all connections to the database are closed", weight=2, needs="postgresql")
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
    server = databases.own_server(stage.place)
    server.stop()
    return server.start


@fault("SIGKILL to the database, which is restarted", seconds=(0.5, 3.0), needs="place postgresql")
def kill_database(stage: Stage, _planned: Planned) -> Undo:
    server = databases.own_server(stage.place)
    server.kill()
    return server.start


@fault("SIGSTOP to the database for some seconds", seconds=(1.0, 0.0), leases=(0.0, 2.0), needs="place postgresql")
def freeze_database(stage: Stage, planned: Planned) -> Undo:
    server = databases.own_server(stage.place)
    server.freeze()
    return databases.at_latest(server.thaw, planned.length_s)
