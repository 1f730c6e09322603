"""Cancel runs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from runs import services
from runs.management.base import Exit, RunsCommand, add_json, find_run
from runs.management.screens import Silence, status_text
from runs.management.watching import Left, Watcher, whoami
from runs.states import Status


class Command(RunsCommand):
    help = "Cancel runs. A pending run is cancelled at once, a running one is asked to end and then made to."
    examples = """
cancel_run 42
cancel_run 42 43 44 --wait
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("runs", metavar="ID", type=int, nargs="+")
        parser.add_argument(
            "--wait",
            action="store_true",
            help="until no process of them is left; exit code 1 if one came to another end before the cancel did",
        )
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        for run_id in options["runs"]:
            find_run(run_id)  # refuse all if one is not there
        final_before = {run_id for run_id in options["runs"] if find_run(run_id).is_final}
        asked = {run_id: services.cancel(run_id, by=whoami()) for run_id in options["runs"]}
        if options["wait"]:
            asked = {run_id: self._end_of(run_id) for run_id in asked}
        if options["json"]:
            self.print_json([{"id": run_id, "status": str(status)} for run_id, status in asked.items()])
        else:
            for run_id in asked:
                self.print(
                    f"Run {run_id} had ended already." if run_id in final_before else status_text(find_run(run_id))
                )
        escaped = [run_id for run_id, status in asked.items() if status.is_final and status != Status.CANCELLED]
        return Exit.FAILED if options["wait"] and set(escaped) - final_before else Exit.OK

    def _end_of(self, run_id: int) -> Status:
        try:
            return Status(Watcher(run_id, Silence()).watch(lambda: False).status)
        except Left as error:
            raise KeyboardInterrupt from error
