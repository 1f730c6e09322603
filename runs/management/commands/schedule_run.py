"""Schedule an experiment or an instance."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils import timezone

from experiments.models import Instance
from runs import parsing, services
from runs.management import scheduling
from runs.management.base import Exit, RunsCommand, WrongUse, add_json
from runs.management.commands.launch_run import add_limits, limits
from runs.models import Schedule
from runs.schedules.serializers import schedule_document


class Command(RunsCommand):
    help = "Launch an experiment, or an instance (a configured experiment), on a schedule."
    examples = """
schedule_run digits --cron "30 2 * * MON-FRI" --zone Europe/Berlin
schedule_run my-instance --name nightly --every 6h --jitter 5m --overlap queue_one
schedule_run monte_carlo_pi --at 2026-12-24T18:00 --at 2026-12-31T23:59 -c batches=50
schedule_run digits --name digits --cron "0 4 * * *" --change
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "target",
            metavar="EXPERIMENT-OR-INSTANCE",
            help="name of an instance or experiment; if both exist, the instance is used",
        )
        parser.add_argument("--name", help="name of the schedule; default: the name of what it launches")
        parser.add_argument(
            "--change",
            action="store_true",
            help="change the schedule of this name; options that are not given keep their values",
        )
        scheduling.add_timetable(parser)
        scheduling.add_policies(parser)
        what = parser.add_argument_group("what")
        what.add_argument(
            "-c",
            dest="assignments",
            metavar="KEY=VALUE",
            type=parsing.setting,
            action="append",
            default=[],
            help="set one field of the configuration; overrides the instance's value. KEY=@FILE reads the value from a"
            " file, KEY=- from standard input",
        )
        what.add_argument(
            "--config", metavar="FILE", type=parsing.config_file, help="a .json or .toml file with fields"
        )
        add_limits(what)
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        name = options["name"] or options["target"]
        old = Schedule.objects.filter(name=name).first()
        values = self._values(options, old.time_zone if old else settings.TIME_ZONE)
        owner = scheduling.owner_of(options)
        if old is not None and not options["change"]:
            raise WrongUse(f"A schedule named {name} already exists. Use --change to change it, or another --name.")
        if old is None and options["change"]:
            raise WrongUse(f"There is no schedule {name} to change. Use `list_schedules` to list the schedules.")
        if old is not None:
            schedule = services.change_schedule(old.pk, owner=owner, **values)
        else:
            schedule = services.create_schedule(name, owner=owner, **values)
        self._print_schedule(schedule, options)
        return Exit.OK

    def _values(self, options: dict[str, Any], zone: str) -> dict[str, Any]:
        if not options["change"] and all(options[name] is None for name in ("cron", "every", "at")):
            raise WrongUse('Choose when it runs: --cron "30 2 * * *", --every 6h or --at 2026-12-24T18:00.')
        instance = Instance.objects.filter(name=options["target"]).first()
        values = scheduling.columns(options, options["zone"] or zone)
        values |= {"instance": instance, "experiment": "" if instance else options["target"]}
        if options["config"] or options["assignments"] or not options["change"]:
            values["configuration"] = parsing.configuration(
                options["config"], options["assignments"], parsing.config_of(options["target"])
            )
        if (given := limits(options)) or not options["change"]:
            values["limits"] = given
        return values

    def _print_schedule(self, schedule: Schedule, options: dict[str, Any]) -> None:
        if options["json"]:
            self.print_json(schedule_document(schedule))
        else:
            for line in scheduling.screen(schedule, timezone.now()):
                self.print(line)
