"""List schedules."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from runs import formatting
from runs.management.base import Exit, RunsCommand, add_json, table
from runs.management.scheduling import week_words
from runs.models import Schedule
from runs.schedules import health, serializers

SHOWN = 1_000


class Command(RunsCommand):
    help = "List schedules: their next run, and what did not run last week and why."
    examples = """
list_schedules
list_schedules --json | jq '.[] | select(.trouble != "") | .name'
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        schedules = list(Schedule.objects.select_related("instance").order_by("name")[:SHOWN])
        if len(schedules) == SHOWN and (count := Schedule.objects.count()) > SHOWN:
            self.stderr.write(f"warning: only the first {SHOWN:,} of {count:,} schedules are listed, by name.")
        if options["json"]:
            self.print_json(serializers.schedule_documents(schedules))
            return Exit.OK
        for warning in health.health():
            about = f"{warning.schedule}: " if warning.schedule else ""
            self.stderr.write(f"{warning.level.value}: {about}{warning.text}")
        if schedules:
            weeks = serializers.weeks(schedule.pk for schedule in schedules)
            rows = (row(schedule, weeks[schedule.pk]) for schedule in schedules)
            self.print(table(rows, ("NAME", "LAUNCHES", "TIMETABLE", "NEXT", "LAST WEEK")))
        else:
            self.print('There are no schedules. Create one with `schedule_run EXPERIMENT --cron "30 2 * * *"`.')
        return Exit.OK


def row(schedule: Schedule, week: serializers.Week) -> tuple[object, ...]:
    fires = serializers.next_fires(schedule, 1)
    upcoming = formatting.age(fires[0].due_at, timezone.now()) if fires else "none"
    return (
        schedule.name,
        schedule.target,
        serializers.words(schedule),
        "paused" if schedule.is_paused else upcoming,
        week_words(week),
    )
