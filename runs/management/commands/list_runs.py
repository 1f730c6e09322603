"""List runs, newest first."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from runs import formatting, parsing, run_search
from runs.management.base import Exit, RunsCommand, add_json, table
from runs.models import Run
from runs.serializers import run_summary
from runs.states import Status

COUNTED_MAX = 10_000
"""Matches counted for the last line."""


class Command(RunsCommand):
    help = "List runs, newest first."
    examples = """
list_runs --status running --status pending
list_runs --experiment digits --tag baseline --limit 100 --json
list_runs --search nightly
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", action="append", choices=Status.values, help="may be repeated")
        parser.add_argument("--experiment", metavar="NAME")
        parser.add_argument("--instance", metavar="NAME")
        parser.add_argument("--tag", dest="tags", action="append", default=[], help="may be repeated: all must match")
        parser.add_argument("--search", metavar="TEXT", default="", help="a number, or words of a name or experiment")
        parser.add_argument("--limit", type=parsing.count, default=20, metavar="N", help="number of runs (default: 20)")
        parser.add_argument("--before", type=int, metavar="ID", help="only runs before this one, for the next page")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        filters = {
            "status__in": options["status"],
            "experiment": options["experiment"],
            "instance__name": options["instance"],
            "pk__lt": options["before"],
        }
        matches: QuerySet[Run] = Run.objects.filter(**{name: value for name, value in filters.items() if value})
        for tag in options["tags"]:
            matches = run_search.tagged(matches, tag)
        if options["search"].strip():
            matches = run_search.matching(matches, options["search"])
        runs = list(matches.select_related("instance", "launched_by").order_by("-pk")[: options["limit"]])
        if options["json"]:
            self.print_json([run_summary(run) for run in runs])
        elif runs:
            self.print(
                table(
                    (row(run) for run in runs),
                    ("ID", "STATUS", "EXPERIMENT", "NAME", "PROGRESS", "DURATION", "LAUNCHED"),
                )
            )
            self.print(footer(matches, runs))
        else:
            self.print(nothing(options))
        return Exit.OK


def footer(matches: QuerySet[Run], shown: list[Run]) -> str:
    """Format as `20 of 39 runs. Next page: --before 19`; counts COUNTED_MAX runs at most."""
    count = matches.order_by()[: COUNTED_MAX + 1].count()
    total = f"more than {COUNTED_MAX:,}" if count > COUNTED_MAX else f"{count:,}"
    if count == len(shown):
        return f"{total} run{'' if count == 1 else 's'}"
    return f"{len(shown):,} of {total} runs. Next page: --before {shown[-1].pk}"


def nothing(options: dict[str, Any]) -> str:
    names = ("status", "experiment", "instance", "tags", "search", "before")
    if any(options[name] for name in names):
        return "No runs match."
    return "There are no runs yet. Launch one with `launch_run EXPERIMENT`; `list_experiments` lists the experiments."


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
