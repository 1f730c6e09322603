"""List runs, newest first."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from runs import formatting
from runs.management.base import Exit, RunsCommand, add_json, table
from runs.models import Run
from runs.serializers import run_summary
from runs.states import Status


class Command(RunsCommand):
    help = "List runs, newest first."
    examples = """
list_runs --status running --status pending
list_runs --experiment digits --limit 100 --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", action="append", choices=Status.values, help="may be given more than once")
        parser.add_argument("--experiment", help="its name")
        parser.add_argument("--instance", help="its name")
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (20)")
        parser.add_argument("--before", type=int, metavar="ID", help="only runs before this one, for the next page")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        filters = {
            "status__in": options["status"],
            "experiment": options["experiment"],
            "instance__name": options["instance"],
            "pk__lt": options["before"],
        }
        found = Run.objects.filter(**{name: value for name, value in filters.items() if value})
        runs = list(found.select_related("instance", "launched_by").order_by("-pk")[: max(0, options["limit"])])
        if options["json"]:
            self.print_json([run_summary(run) for run in runs])
        elif runs:
            self.print(
                table(
                    (row(run) for run in runs), ("ID", "STATUS", "EXPERIMENT", "NAME", "PROGRESS", "TOOK", "LAUNCHED")
                )
            )
        else:
            self.print("There are no such runs.")
        return Exit.OK


def row(run: Run) -> tuple[object, ...]:
    now = timezone.now()
    status = f"{run.status} ({run.failure_kind})" if run.failure_kind else run.status
    done = formatting.percent(formatting.fraction(run.progress_current, run.progress_total))
    took = formatting.duration(formatting.between(run.started_at, run.finished_at or now))
    return (
        run.pk,
        status,
        run.experiment,
        formatting.printable(run.name),
        done,
        took,
        formatting.age(run.created_at, now),
    )
