"""Launch a schedule now."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from runs import services
from runs.management.base import Exit, RunsCommand, add_json
from runs.management.scheduling import row_line
from runs.management.watching import whoami
from runs.schedules import service
from runs.schedules.serializers import slot_document
from runs.states import RAN, SlotState


class Command(RunsCommand):
    help = (
        "Launch a schedule now, even if it is paused. Its overlap policy applies. Exit code 1 if nothing was launched."
    )
    examples = """
trigger_schedule nightly
trigger_schedule nightly --anyway --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("schedule", metavar="NAME")
        parser.add_argument("--anyway", action="store_true", help="ignore the overlap policy")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        schedule = service.find(options["schedule"])
        row = services.trigger_schedule(schedule.pk, by=whoami(), anyway=options["anyway"])
        if options["json"]:
            self.print_json(slot_document(row))
        else:
            self.print(row_line(row))
        return Exit.OK if row.state in RAN | {SlotState.WAITING} else Exit.FAILED
