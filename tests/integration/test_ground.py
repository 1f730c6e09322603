"""Test servers: they can be stopped, killed, frozen and restarted with their data."""

from __future__ import annotations

from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from django.db import connection

from tests.factories import make_attempt, make_run, make_worker
from tests.servers import PostgresServer, RedisServer, ServerMissing, free_port, postgres_folder, unprivileged


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_redis_keeps_what_it_has_when_it_ends_and_starts_again(short_folder: Path, end: str) -> None:
    with RedisServer(short_folder, options={"appendfsync": "always"}) as server:
        with server.client() as client:
            client.set("kept", "yes")
        getattr(server, end)()
        assert not server.is_running
        server.start()
        with server.client() as client:
            assert client.get("kept") == b"yes"


def test_a_frozen_redis_answers_nobody_until_it_is_thawed(short_folder: Path) -> None:
    with RedisServer(short_folder) as server, redis.Redis.from_url(server.url, socket_timeout=0.2) as client:
        server.freeze()
        with pytest.raises(redis.RedisError):
            redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None).ping()
        server.thaw()
        assert client.ping()


def test_a_killed_postgresql_leaves_no_process_and_starts_again(short_folder: Path) -> None:
    try:
        postgres_folder()
        unprivileged()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with PostgresServer(short_folder / "pg") as server:
        pids = [process.pid for process in psutil.Process(server.pid).children(recursive=True)]
        server.kill()
        assert not [pid for pid in pids if psutil.pid_exists(pid)]
        server.start()
        with psycopg.connect(server.url("postgres")) as found:
            assert found.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.django_db
def test_factories_make_what_the_constraints_allow() -> None:
    run = make_run()
    first = make_attempt(run, worker=make_worker())
    assert first.number == first.run.attempt == 1
    assert first.run.status == "running"


def test_the_database_is_the_one_that_was_asked_for(pytestconfig: pytest.Config) -> None:
    assert connection.vendor == pytestconfig.getoption("--database")


def test_a_free_port_is_free() -> None:
    assert 0 < free_port() < 65536
