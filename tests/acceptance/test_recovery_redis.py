"""Redis is killed, wiped, full, read-only, frozen, its disk is full: runs wait at most; no line is lost or doubled."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runs.models import Run
from runs.states import Status
from tests.recovery import PATIENCE_S, SHORT, Team, attempts, ends, has_said, is_whole, own_lines
from tests.servers import RedisServer
from tests.stack import Stack, ended
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance

LINES = 200
KIB = 1024


@pytest.fixture
def redis(module_redis: RedisServer) -> RedisServer:
    """Running, whatever the test before did to it."""
    module_redis.start()
    return module_redis


@pytest.fixture(scope="module")
def pace(ground_of_module: Path) -> Iterator[Team]:
    """A worker that every test of this module uses: it has to live through all of them."""
    with Stack(ground_of_module, **SHORT) as stack:
        team = Team(stack, ground_of_module)
        with stack.at_once():
            stack.system()
            stack.beat()
            team.worker()
        yield team


def speaking(team: Team) -> Run:
    """A run that says a line each 10 ms, and has begun."""
    return has_said(team.launch("log_many", count=LINES, pause_s=0.01, size=100), "line 5".ljust(100, "."))


def is_complete(run: Run) -> bool:
    """Check that it completed in its first attempt, with each line stored once and in order."""
    ended(run, timeout_s=2 * PATIENCE_S)
    assert (run.status, run.error, ends(run)) == (Status.COMPLETED, "", ["completed"])
    assert [line.rstrip(".") for line in own_lines(run, 1)] == [f"line {n}" for n in range(LINES)]
    return is_whole(attempts(run)[0])


def more_lines(run: Run, than: int = 0) -> None:
    """Returns when the run has more lines stored."""
    wait_until(lambda: run.lines.count() > than, timeout_s=PATIENCE_S, what="more lines")


def waits(run: Run) -> None:
    """Returns when no line has been stored for a second: they pile up before Redis."""
    counts = [-1]

    def is_still() -> bool:
        counts.append(run.lines.count())
        return len(counts) > 40 and len(set(counts[-40:])) == 1

    wait_until(is_still, timeout_s=PATIENCE_S, every_s=0.025, what="a stand-still")


def test_killed_and_started_again(pace: Team, redis: RedisServer) -> None:
    run = speaking(pace)
    redis.kill()
    redis.start()
    assert is_complete(run)


def test_wiped(pace: Team, redis: RedisServer) -> None:
    run = speaking(pace)
    for _ in range(3):
        with redis.client() as client:
            client.flushall()
        more_lines(run, run.lines.count())
    assert is_complete(run)


def test_restarted_with_nothing_of_what_it_had(pace: Team, redis: RedisServer) -> None:
    run = speaking(pace)
    redis.kill()
    for file in redis.folder.rglob("appendonly*"):
        if file.is_file():
            file.unlink()
    redis.start()
    assert is_complete(run)


@contextlib.contextmanager
def out_of_memory(redis: RedisServer) -> Iterator[None]:
    with redis.client() as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextlib.contextmanager
def read_only(redis: RedisServer) -> Iterator[None]:
    """Make Redis a replica within the block, as during a failover."""
    with redis.client() as client:
        client.replicaof("127.0.0.1", 1)
        yield
        client.replicaof("NO", "ONE")


@contextlib.contextmanager
def stopped(redis: RedisServer) -> Iterator[None]:
    redis.freeze()
    yield
    redis.thaw()


@contextlib.contextmanager
def disk_full(redis: RedisServer) -> Iterator[None]:
    """No file of it may grow: its append-only file cannot be written."""
    process = psutil.Process(redis.pid)
    size = max(file.stat().st_size for file in redis.folder.rglob("*") if file.is_file())
    process.rlimit(resource.RLIMIT_FSIZE, (size + KIB, resource.RLIM_INFINITY))
    yield
    process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize("trouble", [out_of_memory, read_only, stopped, disk_full], ids=lambda t: t.__name__)
def test_runs_wait_and_lose_nothing_while_redis_is(
    pace: Team, redis: RedisServer, trouble: Callable[[RedisServer], contextlib.AbstractContextManager[None]]
) -> None:
    run = speaking(pace)
    with trouble(redis):
        waits(run)
        run.refresh_from_db()
    assert is_complete(run)
    assert is_complete(speaking(pace)), "and all is as before"
