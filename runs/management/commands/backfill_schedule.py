"""Run past scheduled times of a schedule."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandParser

from runs import services
from runs.management import scheduling
from runs.management.base import Exit, RunsCommand, add_json
from runs.management.watching import whoami
from runs.schedules import service
from runs.schedules.policy import moment
from runs.schedules.service import Backfilled


class Command(RunsCommand):
    help = "Run the scheduled times in the past that did not run: missed, skipped, paused, refused, or too early."
    examples = """
backfill_schedule nightly 2026-03-01 2026-03-31 --dry-run
backfill_schedule nightly 2026-03-01T00:00+01:00 2026-03-02T12:00+01:00 --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("schedule", metavar="NAME")
        parser.add_argument(
            "start", metavar="FROM", type=scheduling.moment, help="in the schedule's time zone, unless it has an offset"
        )
        parser.add_argument("end", metavar="TO", type=scheduling.moment, help="included; a date alone is its whole day")
        parser.add_argument("--dry-run", action="store_true", help="show what would run, and launch nothing")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        schedule = service.find(options["schedule"])
        slots = services.backfill_schedule(
            schedule.pk,
            scheduling.aware(options["start"], schedule.time_zone),
            scheduling.aware(whole_day(options["end"]), schedule.time_zone),
            by=whoami(),
            dry_run=options["dry_run"],
        )
        if options["json"]:
            self.print_json(
                [{"slot": each.slot.isoformat(), "before": each.state, "runs": each.is_taken} for each in slots]
            )
            return Exit.OK
        for each in slots:
            self.print(f"  {moment(each.slot)}  {words(each)}")
        count = sum(each.is_taken for each in slots)
        done = "would run" if options["dry_run"] else "will run, one after another"
        self.print(f"{count} of {len(slots)} scheduled times {done}.")
        return Exit.OK


def words(each: Backfilled) -> str:
    before = each.state.label.lower() if each.state else "not in the history"
    return f"{before}: backfilled" if each.is_taken else f"{before}: unchanged"


def whole_day(end: datetime) -> datetime:
    """Extend a date without a time to the end of its day."""
    is_day = end.tzinfo is None and not (end.hour or end.minute or end.second or end.microsecond)
    return end + timedelta(days=1) - timedelta(microseconds=1) if is_day else end
