"""Delete schedules."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from runs import services
from runs.management.base import Exit, RunsCommand, WrongUse, add_json
from runs.models import Schedule
from runs.schedules import service


class Command(RunsCommand):
    help = "Delete schedules and their history. Their runs are kept. Asks for confirmation. See also `pause_schedule`."
    examples = """
delete_schedule nightly
delete_schedule nightly hourly --yes --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("schedules", metavar="NAME", nargs="+")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        schedules = {schedule.pk: schedule for schedule in map(service.find, options["schedules"])}  # all or none
        names = [schedule.name for schedule in schedules.values()]
        if not (options["yes"] or self._agrees(schedules)):
            raise WrongUse(
                "Nothing was deleted. Use --yes to delete without confirmation, or pause it with `pause_schedule`."
            )
        for pk in schedules:
            services.delete_schedule(pk)
        if options["json"]:
            self.print_json(names)
        else:
            for name in names:
                self.print(f"Deleted schedule {name}. Its runs are kept.")
        return Exit.OK

    def _agrees(self, schedules: dict[int, Schedule]) -> bool:
        """Ask for confirmation on a terminal. Elsewhere the answer is no."""
        if not sys.stdin.isatty():
            return False
        for schedule in schedules.values():
            self.stderr.write(
                f"Schedule {schedule.name}, with {schedule.slots.count():,} scheduled times in its history."
            )
        self.stderr.write("Delete? [y/N] ", ending="")
        return input().strip().lower() in ("y", "yes")
