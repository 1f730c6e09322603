"""Run a finished run again, from scratch."""

from __future__ import annotations

from runs import services
from runs.management.again import AgainCommand
from runs.models import Run


class Command(AgainCommand):
    help = "Launch a finished run again, as a new run with the same configuration and seed, from scratch."
    examples = "rerun_run 42 --watch"

    def again(self, run_id: int) -> Run:
        return services.rerun(run_id, via="shell")
