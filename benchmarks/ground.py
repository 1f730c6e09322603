"""Temporary servers of one benchmark, and the settings of Django that use them.

Redis and PostgreSQL are started by the script in a folder of its own, and end with it. PostgreSQL runs with its
defaults, `fsync` included.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from tests.servers import PostgresServer, RedisServer

DATABASES = ("sqlite", "postgresql")


class DurablePostgres(PostgresServer):
    """A PostgreSQL that writes to disk at each commit, as in production."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "-c", "fsync=on"]


@dataclass(frozen=True, slots=True)
class Ground:
    """Servers and folder of a benchmark."""

    folder: Path
    database: str
    redis_socket: Path

    def redis_url(self, number: int) -> str:
        """Return the URL of a database of the same Redis, for a program beside Athanor, which has number 0."""
        return f"unix://{self.redis_socket}?db={number}"

    def broker_url(self, number: int) -> str:
        """Return the same for Celery."""
        return f"redis+socket://{self.redis_socket}?virtual_host={number}"


@contextmanager
def ground(database: str = "sqlite", **environ: str) -> Iterator[Ground]:
    """Start the servers, set up Django on them, and create the tables. `environ` is set before Django is.

    A process can do this once. Processes that it starts inherit the environment.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped by SIGTERM."))  # what was started ends too
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp", ignore_cleanup_errors=True))
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another user
        url = f"sqlite://{folder / 'db.sqlite3'}"
        if database == "postgresql":
            server = stack.enter_context(DurablePostgres(folder / "postgres"))
            server.create_database("bench")
            url = server.url("bench")
        redis = stack.enter_context(RedisServer(folder / "redis", socket_path=folder / "redis.sock"))
        os.environ.update(
            DJANGO_SETTINGS_MODULE="athanor.settings", ATHANOR_VAR=str(folder / "var"), ATHANOR_REDIS_URL=redis.url,
            ATHANOR_DATABASE_URL=url, ATHANOR_EXPERIMENT_PATHS=str(ROOT / "benchmarks" / "experiments"),
            ATHANOR_LOG_LEVEL="WARNING", ATHANOR_ALLOWED_HOSTS="127.0.0.1,testserver", PYTHONPATH=str(ROOT),
        )  # fmt: skip
        os.environ.update(environ)
        _set_up(stack)
        yield Ground(folder, database, redis.socket_path)


def _set_up(stack: ExitStack) -> None:
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    call_command("migrate", verbosity=0)
    stack.callback(connection.close)


def arguments(
    description: str | None, *, database: str | None = None, peers: bool = False, **counts: int
) -> argparse.Namespace:
    """Parse the options of a script: `--rounds` and the like, with their defaults.

    With `database`, the script takes `--database`; with `peers`, it takes `--peers`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default:,}")
    if database is not None:
        parser.add_argument("--database", choices=DATABASES, default=database)
    if peers:
        parser.add_argument("--peers", action="store_true", help="measure the installed peers beside it")
    return parser.parse_args(sys.argv[1:])
