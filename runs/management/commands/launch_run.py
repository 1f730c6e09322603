"""Launch an experiment or an instance."""

from __future__ import annotations

from argparse import ArgumentParser, _ArgumentGroup
from typing import Any

from django.core.management.base import CommandParser

from runs import parsing, services
from runs.management.base import Exit, RunsCommand, add_json, find_run
from runs.management.screens import status_text
from runs.management.watching import watch
from runs.models import Run
from runs.serializers import run_document


class Command(RunsCommand):
    help = "Launch an experiment, or an instance (a configured experiment) with changes."
    examples = """
launch_run monte_carlo_pi -c batches=50 -c darts=200000 --watch
launch_run my-instance -c optimizer.rate=0.05 --timeout 2h --memory-limit 4G
launch_run digits --config digits.toml --name nightly --tag baseline --json
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("experiment", metavar="EXPERIMENT-OR-INSTANCE", help="its name; an instance's comes first")
        parser.add_argument(
            "-c",
            dest="assignments",
            metavar="KEY=VALUE",
            type=parsing.assignment,
            action="append",
            default=[],
            help="set one field; the value is JSON or else text, a dotted key goes into a group; wins over --config",
        )
        parser.add_argument(
            "--config", metavar="FILE", type=parsing.config_file, help="a .json or .toml file with fields"
        )
        parser.add_argument("--name", default="", help="what to call the run")
        parser.add_argument("--tag", dest="tags", action="append", default=[], help="may be given more than once")
        add_limits(parser)
        parser.add_argument(
            "--retry",
            dest="retries",
            metavar="KIND=TIMES",
            type=parsing.retry,
            action="append",
            default=[],
            help="try again so often after failures of this kind, as error=3; may be given more than once",
        )
        parser.add_argument("--seed", type=int, help="a whole number; chosen at random without it")
        parser.add_argument("--queue", help="the Celery queue whose workers may run it")
        parser.add_argument("--priority", type=int, help="higher runs first")
        parser.add_argument(
            "--watch", action="store_true", help="show progress and lines until it ends; the exit code tells how"
        )
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        run = services.launch(
            options["experiment"],
            configuration=parsing.configuration(options["config"], options["assignments"]),
            name=options["name"],
            tags=options["tags"],
            limits=limits(options),
            seed=options["seed"],
            queue=options["queue"],
            priority=options["priority"],
            retries=dict(options["retries"]),
            via="shell",
        )
        return launched(self, run, options)


def add_limits(parser: ArgumentParser | _ArgumentGroup) -> None:
    """The options that `limits` reads: the frequent ones by names of their own, with units."""
    parser.add_argument(
        "--timeout", type=parsing.seconds, metavar="TIME", help="longest time of one attempt: 90, 10m, 2h"
    )
    parser.add_argument("--stall-timeout", type=parsing.seconds, metavar="TIME", help="longest silence: 90, 10m, 2h")
    parser.add_argument(
        "--memory-limit", type=parsing.size_bytes, metavar="SIZE", help="most memory of its processes: 512M, 4G"
    )
    parser.add_argument(
        "--limit",
        dest="limits",
        metavar="NAME=VALUE",
        type=parsing.assignment,
        action="append",
        default=[],
        help="any limit by its name, as cancel_grace_s=60; may be given more than once",
    )


def limits(options: dict[str, Any]) -> dict[str, Any]:
    given = {
        "timeout_s": options["timeout"],
        "stall_timeout_s": options["stall_timeout"],
        "memory_limit_bytes": options["memory_limit"],
    }
    named = {".".join(path): value for path, value in options["limits"]}
    return {name: value for name, value in given.items() if value is not None} | named


def launched(command: RunsCommand, run: Run, options: dict[str, Any]) -> Exit:
    """Tell of a new run, and watch it if asked to. Also what `retry_run` and `rerun_run` do."""
    if not options["json"]:
        command.print(f"Run {run.pk} · {run.name or run.experiment} is launched. `show_run {run.pk}` tells of it.")
    code = watch(command, run.pk, silent=options["json"]) if options["watch"] else Exit.OK
    if options["json"]:
        command.print_json(run_document(find_run(run.pk)))
    elif options["watch"] and code != Exit.INTERRUPTED:
        command.print(status_text(find_run(run.pk)))
    return code
