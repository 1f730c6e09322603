"""Base of all commands: exit codes, error messages, output.

Exit codes: 0 done (or the run completed), 1 failed, 2 wrong usage, 3 the run was cancelled, 130 interrupted. Errors go
to stderr in a sentence; stdout holds the answer only. A closed pipe (`| head`) ends a command quietly.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, connection

from experiments import catalog
from runs import audit, formatting
from runs.exceptions import LaunchRefused, RunNotFinal, RunNotFound, ScheduleNotFound, ScheduleRefused
from runs.models import Run
from runs.states import Status


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    WRONG_USE = 2
    CANCELLED = 3
    INTERRUPTED = 130


class WrongUse(CommandError):
    """Wrong usage of a command. The message says what would be right."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=Exit.WRONG_USE)


class _Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Keeps the line breaks of the examples."""


class RunsCommand(BaseCommand):
    """Command that returns an exit code. Subclasses implement `answer`, and set `help` and `examples`."""

    requires_system_checks: list[str] = []  # commands must work although an experiment is broken
    examples = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        examples = "".join(f"\n  ./manage.py {line.strip()}" for line in self.examples.strip().splitlines())
        parser = super().create_parser(
            prog_name, subcommand, epilog=f"examples:{examples}" if examples else None, **kwargs
        )
        parser.formatter_class = _Formatter
        return parser

    def answer(self, options: dict[str, Any]) -> Exit:
        raise NotImplementedError

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the command; any exit code but 0 is raised as SystemExit."""
        if code := self.answer(options):
            raise SystemExit(int(code))

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Turn errors into a sentence and an exit code."""
        if getattr(self, "_called_from_command_line", False):
            catalog.use_process()  # an experiment that hangs during its import must not block the others
        try:
            with audit.acting_as(audit.command):
                return self._translated(*args, **options)
        except CommandError as error:
            if not getattr(self, "_called_from_command_line", False) or options.get("traceback"):
                raise
            self.stderr.write(formatting.printable(str(error)))
            raise SystemExit(error.returncode) from error

    def _translated(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except LaunchRefused as error:
            raise WrongUse(refusal(error)) from error
        except ScheduleRefused as error:
            raise WrongUse(refusal(error, "Not scheduled")) from error
        except (RunNotFound, RunNotFinal, ScheduleNotFound) as error:
            raise WrongUse(str(error)) from error
        except DatabaseError as error:
            raise CommandError(database_trouble(error)) from error
        except KeyboardInterrupt as error:
            raise SystemExit(int(Exit.INTERRUPTED)) from error
        except BrokenPipeError:
            forget_stdout()
            return None

    def print(self, text: str = "") -> None:
        self.stdout.write(formatting.printable(text))

    def print_json(self, document: Any) -> None:
        self.stdout.write(formatting.json_text(document, indent=2))


def refusal(error: LaunchRefused | ScheduleRefused, head: str = "Not launched") -> str:
    """Format the problems of a refusal, one line each, under `head`."""
    if not error.problems or set(error.problems) <= {""}:
        return f"{head}: {error}"
    if set(error.problems) == {"experiment"}:
        return f"{head}: {error.problems['experiment']}"
    return "\n".join((f"{head}:", *(f"  {path}: {message}" for path, message in error.problems.items())))


def database_trouble(error: DatabaseError) -> str:
    """Say what a database error means, and what to do."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "no such column" in text or ("column" in text and "does not exist" in text):
        return "The database belongs to another version of Athanor. Update it with `./manage.py migrate`."
    if "no such table" in text or ("relation" in text and "does not exist" in text):
        return "The database has no tables yet. Start everything with `./manage.py up`, or run `./manage.py migrate`."
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        return (
            f"There is no database at {connection.settings_dict['NAME']}. Start everything with `./manage.py up`,"
            " or set ATHANOR_VAR to the folder of another stack."
        )
    return f"The database ({connection.vendor}, see ATHANOR_DATABASE_URL) refused the request: {text}"


def forget_stdout() -> None:
    """Redirect a closed stdout to /dev/null, so that the flush at exit does not fail."""
    with suppress(OSError, ValueError):  # where stdout is no file, nothing is flushed into a pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def find_run(run_id: int) -> Run:
    """Raises RunNotFound."""
    run = Run.objects.select_related("instance", "launched_by").filter(pk=run_id).first()
    if run is None:
        raise RunNotFound(run_id)
    return run


def exit_of(status: Status) -> Exit:
    """Map the final status of a run to an exit code."""
    return {Status.FAILED: Exit.FAILED, Status.CANCELLED: Exit.CANCELLED}.get(status, Exit.OK)


def add_watch(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show progress and log lines until the run ends; the exit code says how it ended",
    )


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def table(rows: Iterable[Iterable[object]], head: Iterable[str]) -> str:
    """Format rows as columns that are aligned by spaces, below a head."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
