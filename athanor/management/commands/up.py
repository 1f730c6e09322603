"""`up`: run everything on one machine. `up --status` shows the running processes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from athanor import exposed
from athanor.up import bootstrap, status
from athanor.up.application import Up
from athanor.up.group import StartFailed
from athanor.up.preflight import Refused
from athanor.up.roles import Options
from experiments import catalog, umask
from runs.management.base import Exit, RunsCommand, WrongUse, table

NOT_UP = 3
"""Exit code of `up --status` when Athanor is not running."""


class Command(RunsCommand):
    help = (
        "Start Redis, the workers, beat and the web server, and keep them running until Ctrl-C."
        " The first start creates an admin user and launches a demo."
    )
    examples = """
        up --port 8080
        up --workers 2 --slots 8 --no-demo
        up --status --json
        up --reset-password
    """

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address of the web server (%(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port of the web server (%(default)s)")
        parser.add_argument("--workers", type=int, default=1, help="number of worker processes for runs (%(default)s)")
        parser.add_argument(
            "--slots",
            type=int,
            default=max(2, os.cpu_count() or 2),
            help="concurrent runs in each worker (%(default)s)",
        )
        parser.add_argument("--no-demo", action="store_true", help="do not launch the demo")
        parser.add_argument(
            "--status", action="store_true", help="show the running processes; exit code 3 if there are none"
        )
        parser.add_argument(
            "--reset-password", action="store_true", help="set and print a new password for the user admin, then exit"
        )
        parser.add_argument("--json", action="store_true", help="with --status: print JSON")

    def answer(self, options: dict[str, Any]) -> Exit:
        if options["status"]:
            self._show_status(as_json=options["json"])
            return Exit.OK
        if options["reset_password"]:
            self._reset_password()
            return Exit.OK
        if min(options["workers"], options["slots"]) < 1 or not 0 < options["port"] < 65536:
            raise WrongUse("--workers and --slots must be at least 1, --port from 1 to 65535.")
        self._close_to_others()
        self.check()
        catalog.rest()  # the demo starts it again if needed
        requested = Options(options["host"], options["port"], options["workers"], options["slots"], Path(settings.VAR))
        try:
            Up(requested, with_demo=not options["no_demo"], echo=echo).run()
        except (Refused, status.AlreadyUp) as error:
            raise WrongUse(str(error)) from error
        except StartFailed as error:
            raise CommandError(str(error)) from error
        return Exit.OK

    def _close_to_others(self) -> None:
        """Create private files from now on, and make those of an older version private."""
        umask.make_private()
        var = Path(settings.VAR)
        if changed := exposed.tighten(var, is_ours=var == Path(settings.BASE_DIR) / "var"):
            echo(f"Removed the permissions of other users from {', '.join(map(str, changed))}.")

    def _reset_password(self) -> None:
        try:
            password = bootstrap.reset_password()
        except DatabaseError as error:
            raise CommandError(
                f"Cannot set the password: {str(error).strip()}. `python manage.py up` prepares the database."
            ) from error
        except bootstrap.NotLocal as error:
            raise CommandError(str(error)) from error
        self.print(bootstrap.login_text(password))

    def _show_status(self, *, as_json: bool) -> None:
        now = status.current(status.Files(Path(settings.VAR)))
        if as_json:
            self.print_json(now)
        elif now["up"]:
            self.print(f"Up since {now['since']}, process {now['pid']}: {now['url']}/\n")
            rows = (
                (p["role"], p["pid"] or "-", p["state"], p["since"][:19], p["restarts"], p["log_file"])
                for p in now["processes"]
            )
            self.print(table(rows, ("role", "pid", "state", "since", "restarts", "log file")))
        else:
            self.print(f"Athanor is not running in {settings.VAR}. Start it with `./manage.py up`.")
        if not now["up"]:
            raise SystemExit(NOT_UP)


def echo(text: str) -> None:
    """Print at once. A closed terminal must not keep the group from stopping in order."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
