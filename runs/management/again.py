"""Base of `retry_run` and `rerun_run`, which launch a finished run again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from runs.management.base import Exit, RunsCommand, add_json
from runs.management.commands.launch_run import launched
from runs.models import Run


class AgainCommand(RunsCommand):
    """Command that launches a finished run again. Subclasses implement `again`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", metavar="ID", type=int, help="a finished run")
        parser.add_argument(
            "--watch",
            action="store_true",
            help="show progress and log lines until the run ends; the exit code says how it ended",
        )
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        return launched(self, self.again(options["run"]), options)

    def again(self, run_id: int) -> Run:
        raise NotImplementedError
