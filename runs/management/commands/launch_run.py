"""Launch an experiment or an instance."""

from __future__ import annotations

from argparse import ArgumentParser, _ArgumentGroup
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.urls import reverse

from experiments import typed_text
from experiments.limits import Limits
from runs import formatting, parsing, services
from runs.management.base import Exit, RunsCommand, add_json, add_watch, find_run
from runs.management.screens import end_lines
from runs.management.watching import watch
from runs.models import Run
from runs.serializers import run_document


class Command(RunsCommand):
    help = "Launch an experiment, or an instance (a configured experiment) with changes."
    examples = """
launch_run monte_carlo_pi -c batches=50 -c darts=200000 --watch
launch_run my-instance -c optimizer.rate=0.05 --timeout 2h --memory-limit 4G
launch_run digits --config digits.toml --name nightly --tag baseline --json
launch_run my-instance -c api_key=@/run/secrets/api_key
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "experiment",
            metavar="EXPERIMENT-OR-INSTANCE",
            help="name of an instance or experiment; if both exist, the instance is used",
        )
        parser.add_argument(
            "-c",
            dest="assignments",
            metavar="KEY=VALUE",
            type=parsing.setting,
            action="append",
            default=[],
            help="set one field. Its type decides how the value is read: a str as text (also 007 or null), lists and"
            " groups as JSON; in double quotes it is always text. A dotted key sets a field of a group. KEY=@FILE reads"
            " the value from a file, KEY=- from standard input. Overrides --config",
        )
        parser.add_argument(
            "--config", metavar="FILE", type=parsing.config_file, help="a .json or .toml file with fields"
        )
        parser.add_argument("--name", default="", help="display name of the run")
        parser.add_argument("--tag", dest="tags", action="append", default=[], help="may be repeated")
        add_limits(parser)
        parser.add_argument(
            "--retry",
            dest="retries",
            metavar="KIND=TIMES",
            type=parsing.retry,
            action="append",
            default=[],
            help="retry failures of this kind this many times, e.g. error=3; may be repeated",
        )
        parser.add_argument("--seed", type=int, help="random seed, a whole number; default: chosen at random")
        parser.add_argument("--queue", help="queue of the workers that may run it")
        parser.add_argument("--priority", type=int, help="higher numbers run first")
        add_watch(parser)
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        run = services.launch(
            options["experiment"],
            configuration=parsing.configuration(
                options["config"], options["assignments"], parsing.config_of(options["experiment"])
            ),
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
    """Add the options that `limits` reads."""
    parser.add_argument(
        "--timeout", type=parsing.seconds, metavar="TIME", help="time limit of each attempt: 90, 10m, 2h"
    )
    parser.add_argument(
        "--stall-timeout",
        type=parsing.seconds,
        metavar="TIME",
        help="fail when there is no output or progress for this long: 90, 10m, 2h",
    )
    parser.add_argument(
        "--memory-limit",
        type=parsing.size_bytes,
        metavar="SIZE",
        help="memory limit of all its processes together: 512M, 4G",
    )
    parser.add_argument(
        "--limit",
        dest="limits",
        metavar="NAME=VALUE",
        type=parsing.assignment,
        action="append",
        default=[],
        help="any limit by its name, e.g. cancel_grace_s=60; may be repeated",
    )


def limits(options: dict[str, Any]) -> dict[str, Any]:
    given = {
        "timeout_s": options["timeout"],
        "stall_timeout_s": options["stall_timeout"],
        "memory_limit_bytes": options["memory_limit"],
    }
    named = {".".join(path): typed_text.typed(text, Limits, path) for path, text in options["limits"]}
    return {name: value for name, value in given.items() if value is not None} | named


def launched(command: RunsCommand, run: Run, options: dict[str, Any]) -> Exit:
    """Print a new run, and watch it if requested. Shared by `launch_run`, `retry_run` and `rerun_run`."""
    if not options["json"]:
        command.print(f"Launched run {run.pk} ({formatting.printable(run.name or run.experiment)}){_where(run)}")
    code = watch(command, run.pk, silent=options["json"]) if options["watch"] else Exit.OK
    if options["json"]:
        command.print_json(run_document(find_run(run.pk)))
    elif options["watch"] and code != Exit.INTERRUPTED:
        for line in end_lines(find_run(run.pk)):
            command.print(line)
    return code


def _where(run: Run) -> str:
    """Return the address of its page, or the command that follows it if there is no address."""
    if settings.SITE_URL:
        return f": {settings.SITE_URL}{reverse('admin:runs_run_change', args=[run.pk])}"
    return f". Follow it with `tail_run {run.pk} --follow`."
