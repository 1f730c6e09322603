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
    help = "Delete schedules with their ledgers. Runs are kept, and go on. Asks first. `pause_schedule` can be undone."
    examples = """
delete_schedule nightly
delete_schedule nightly hourly --yes --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("schedules", metavar="NAME", nargs="+")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        found = {schedule.pk: schedule for schedule in map(service.find, options["schedules"])}  # all or none
        names = [schedule.name for schedule in found.values()]
        if not (options["yes"] or self._agrees(found)):
            raise WrongUse("Nothing is deleted. --yes deletes without asking; `pause_schedule` can be undone.")
        for pk in found:
            services.delete_schedule(pk)
        if options["json"]:
            self.print_json(names)
        else:
            for name in names:
                self.print(f"Schedule {name} is deleted; its runs are kept.")
        return Exit.OK

    def _agrees(self, found: dict[int, Schedule]) -> bool:
        """Whether somebody at a terminal says yes."""
        if not sys.stdin.isatty():
            return False
        for schedule in found.values():
            self.stderr.write(f"Schedule {schedule.name}, with {schedule.slots.count():,} rows of its ledger.")
        self.stderr.write("Delete? [y/N] ", ending="")
        return input().strip().lower() in ("y", "yes")
