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
    help = "Cancel runs. A pending run is cancelled at once; a running run is asked to stop, then killed."
    examples = """
cancel_run 42
cancel_run 42 43 44 --wait
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("runs", metavar="ID", type=int, nargs="+")
        parser.add_argument(
            "--wait",
            action="store_true",
            help="wait until all their processes have exited; exit code 1 if a run ended in another way first",
        )
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        for run_id in options["runs"]:
            find_run(run_id)  # refuse all if one does not exist
        final_before = {run_id for run_id in options["runs"] if find_run(run_id).is_final}
        statuses = {run_id: services.cancel(run_id, by=whoami()) for run_id in options["runs"]}
        if options["wait"]:
            statuses = {run_id: self._end_of(run_id) for run_id in statuses}
        if options["json"]:
            self.print_json([{"id": run_id, "status": str(status)} for run_id, status in statuses.items()])
        else:
            for run_id in statuses:
                self.print(self._text(run_id, already_final=run_id in final_before))
        not_cancelled = [
            run_id for run_id, status in statuses.items() if status.is_final and status != Status.CANCELLED
        ]
        return Exit.FAILED if options["wait"] and set(not_cancelled) - final_before else Exit.OK

    def _text(self, run_id: int, *, already_final: bool) -> str:
        run = find_run(run_id)
        if already_final:
            return f"Run {run_id} had already ended: {run.status}."
        return status_text(run) if run.is_final else f"Cancelling run {run_id}"

    def _end_of(self, run_id: int) -> Status:
        try:
            return Status(Watcher(run_id, Silence()).watch(lambda: False).status)
        except Left as error:
            raise KeyboardInterrupt from error
