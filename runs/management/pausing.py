"""Base of `pause_schedule` and `resume_schedule`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from runs.management.base import Exit, RunsCommand, add_json
from runs.management.watching import whoami
from runs.models import Schedule
from runs.schedules import serializers, service


class PausingCommand(RunsCommand):
    """Command that changes schedules. Subclasses set `done` and implement `do`."""

    done = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("schedules", metavar="NAME", nargs="+")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        schedules = [service.find(name) for name in options["schedules"]]  # refuse all if one does not exist
        changed = [self.do(schedule.pk, whoami()) for schedule in schedules]
        if options["json"]:
            self.print_json(serializers.schedule_documents(changed))
        else:
            for schedule in changed:
                self.print(f"{self.done.format(name=schedule.name)}")
        return Exit.OK

    def do(self, schedule_id: int, by: str) -> Schedule:
        raise NotImplementedError
