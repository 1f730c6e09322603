"""`up` from its first check to its last process: checks, steps, group, demo."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

from athanor import running_stack
from athanor.up import first_steps, preflight, roles, status
from athanor.up.demo import Demo
from athanor.up.group import Group
from athanor.up.process import Role
from athanor.up.signals import Signals
from runs.conf import runs_settings


@dataclass(frozen=True, slots=True)
class Up:
    """One call of `up`. `run` is for the main thread."""

    options: roles.Options
    with_demo: bool
    say: Callable[[str], None]

    @property
    def site(self) -> str:
        host = roles.reachable(self.options.host)
        return f"http://[{host}]:{self.options.port}" if ":" in host else f"http://{host}:{self.options.port}"

    def run(self) -> None:
        """Start everything and keep it up until SIGINT, SIGTERM or SIGHUP.

        Raises preflight.Refused, status.AlreadyUp, or group.StartFailed after what had started was stopped.
        """
        preflight.check_folder(self.options.var)
        files = status.Files(self.options.var)
        with closing(status.acquire(files)), Signals() as signals:
            self._clear(files)
            members, password = self._prepare()
            publisher = status.Publisher(files, self.site)
            published = running_stack.publish(settings.BASE_DIR, self.options.var, os.environ, self.site)
            group = Group(members, self._log_folder(), signals, say=self.say, publish=publisher)
            try:
                self._keep_up(group, password)
            finally:
                self.say(_farewell())
                group.stop()
                publisher.withdraw()
                running_stack.withdraw(published)
                self.say("Stopped.")

    def _clear(self, files: status.Files) -> None:
        if count := status.end_leftovers(files):
            self.say(f"Ended {count} processes that an `up` which was killed had left behind.")

    def _log_folder(self) -> Path:
        folder = self.options.var / "log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise preflight.Refused(f"Cannot create the folder {folder}: {error.strerror}.") from error
        return folder

    def _prepare(self) -> tuple[list[Role], str | None]:
        """Check what can be checked, and bring the database up to date.

        Returns the roles of the group, and the password of the first user if it was created now. Raises Refused.
        """
        preflight.check_port(self.options.host, self.options.port)
        command, remarks = preflight.redis_command(self.options.var, os.environ.get("ATHANOR_REDIS_URL"))
        for remark in remarks:
            self.say(remark)
        try:
            first_steps.migrate()
            password = first_steps.create_first_admin()
        except (DatabaseError, OSError) as error:
            raise preflight.Refused(f"Cannot prepare the database: {str(error).strip()}.") from error
        if password:
            self.say(f"Created the user {first_steps.ADMIN}, password {password}")
        first_steps.release_connections()
        common = roles.environment(self.options.var, settings.BASE_DIR)
        members = roles.all_roles(self.options, command, settings.REDIS_URL)
        return [replace(role, environment={**common, **role.environment}) for role in members], password

    def _keep_up(self, group: Group, password: str | None) -> None:
        if not group.start():
            return
        log_in = first_steps.log_in_text(password)
        self.say(f"Athanor is up: {self.site}/\n{log_in}")
        demo = Demo(self.site, self.say, farewell=log_in if password else "")
        if self.with_demo:
            demo.start()
        try:
            group.run()
        finally:
            demo.end()


def _farewell() -> str:
    drain_s = runs_settings().drain_s
    return (
        f"Stopping everything in order. Running experiments have {drain_s:g} s to end; what does not goes on at the"
        " next `up`. Ctrl-C again: at once."
    )
