"""Sequence of `up`: checks, database, group, demo."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from athanor import running_stack
from athanor.up import bootstrap, fork, preflight, programs, roles, status
from athanor.up.demo import Demo
from athanor.up.group import Group
from athanor.up.process import Role
from athanor.up.signals import Signals
from experiments.conf import offers_examples
from experiments.umask import PRIVATE_FOLDER
from runs.conf import runs_settings


@dataclass(frozen=True, slots=True)
class Up:
    """One invocation of `up`. Call `run` from the main thread."""

    options: roles.Options
    with_demo: bool
    echo: Callable[[str], None]

    @property
    def site(self) -> str:
        host = roles.reachable(self.options.host)
        return f"http://[{host}]:{self.options.port}" if ":" in host else f"http://{host}:{self.options.port}"

    def run(self) -> None:
        """Start everything and keep it running until SIGINT, SIGTERM or SIGHUP.

        Raises preflight.Refused, status.AlreadyUp, or group.StartFailed. Stops everything before it returns.
        """
        preflight.check_folder(self.options.var)
        files = status.Files(self.options.var)
        with closing(status.acquire(files)), Signals() as signals:
            self._clear(files)
            group_roles, login = self._prepare()
            publisher = status.Publisher(files, self.site)
            published = running_stack.publish(settings.BASE_DIR, self.options.var, os.environ, self.site)
            group = Group(group_roles, self._log_folder(), signals, echo=self.echo, publish=publisher)
            try:
                self._keep_up(group, login)
            finally:
                self.echo(_stopping_text())
                group.stop()
                publisher.remove()
                running_stack.withdraw(published)
                self.echo("Stopped.")

    def _clear(self, files: status.Files) -> None:
        if count := status.kill_orphans(files):
            self.echo(f"Stopped {count} processes left over from an earlier `up`.")

    def _log_folder(self) -> Path:
        folder = self.options.var / "log"
        try:
            folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise preflight.Refused(f"Cannot create the folder {folder}: {error.strerror}.") from error
        return folder

    def _prepare(self) -> tuple[list[Role], str]:
        """Run all checks and migrate the database.

        Returns the roles of the group, and how to log in as the first user if it was created. Raises Refused.
        """
        preflight.check_port(self.options.host, self.options.port)
        command, notes = preflight.redis_command(self.options.var, os.environ.get("ATHANOR_REDIS_URL"))
        for note in notes:
            self.echo(note)
        login = self._first_login(self._prepare_database())
        if login:
            self.echo(f"Created the user {bootstrap.ADMIN}. {login}")
        if fork.is_safe():
            programs.preload()
        bootstrap.release_connections()
        common = roles.environment(self.options.var, settings.BASE_DIR)
        group_roles = roles.all_roles(self.options, command, settings.REDIS_URL)
        return [replace(role, environment={**common, **role.environment}) for role in group_roles], login

    def _prepare_database(self) -> str:
        """Migrate the database; return the password of the first user if this call created it. Raises Refused.

        In a fork where possible, since each process of the group would share the memory that migrations leave.
        """
        bootstrap.release_connections()
        execute = fork.result_of if fork.is_safe() else _result_of
        answer = json.loads(execute(bootstrap.prepare))
        if answer["error"]:
            raise preflight.Refused(f"Cannot prepare the database: {answer['error']}.")
        return str(answer["password"])

    def _first_login(self, password: str) -> str:
        """Return how to log in with a new password; empty without one. Only a terminal shows it. Raises Refused."""
        if not password:
            return ""
        if sys.stdin.isatty() and sys.stdout.isatty():
            return bootstrap.login_text(password)
        try:
            return bootstrap.kept_login_text(bootstrap.keep_password(self.options.var, password))
        except OSError as error:
            raise preflight.Refused(f"Cannot write the password of {bootstrap.ADMIN}: {error}.") from error

    def _keep_up(self, group: Group, first_login: str) -> None:
        if not group.start():
            return
        self.echo(f"Athanor is up: {self.site}/\n{first_login or bootstrap.login_text(None)}")
        if opened := preflight.opened_text(self.options.host, self.options.port, settings.ALLOWED_HOSTS):
            self.echo(opened)
        demo = Demo(self.site, self.echo, closing=first_login)
        if self.with_demo and offers_examples():
            group.fork_no_more()
            demo.start()
        try:
            group.run()
        finally:
            demo.end()


def _result_of(function: Callable[[], str]) -> str:
    return function()


def _stopping_text() -> str:
    drain_s = runs_settings().drain_s
    return (
        f"Stopping. Running experiments have {drain_s:g} s to finish; those that do not finish continue at the next"
        " `up`. Press Ctrl-C again to stop at once."
    )
