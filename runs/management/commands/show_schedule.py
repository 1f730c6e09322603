"""Show a schedule."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from runs.management import scheduling
from runs.management.base import Exit, RunsCommand, add_json
from runs.schedules import serializers, service, timetable


class Command(RunsCommand):
    help = "Show a schedule: its next runs, its policies, and its history."
    examples = """
show_schedule nightly
show_schedule nightly --slots 100
show_schedule nightly --json | jq .slots[0]
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("schedule", metavar="NAME")
        parser.add_argument(
            "--slots", metavar="N", type=int, default=20, help="number of past scheduled times to show (default: 20)"
        )
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        schedule, count = service.find(options["schedule"]), max(0, options["slots"])
        if options["json"]:
            rows = [serializers.slot_document(row) for row in serializers.last_slots(schedule, count)]
            self.print_json({**serializers.schedule_document(schedule), "slots": rows})
            return Exit.OK
        now = timezone.now()
        for line in scheduling.screen(schedule, now, slots=count):
            self.print(line)
        if preview := timetable.preview(schedule.timetable(), now):
            self.print(f"  {preview.what} {preview.effect}")
        return Exit.OK
