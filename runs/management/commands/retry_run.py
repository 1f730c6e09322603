"""Retry a finished run from its last checkpoint."""

from __future__ import annotations

from runs import services
from runs.management.again import AgainCommand
from runs.models import Run


class Command(AgainCommand):
    help = "Launch a finished run again, as a new run that continues from the last checkpoint (see also `rerun_run`)."
    examples = "retry_run 42 --watch"

    def again(self, run_id: int) -> Run:
        return services.retry(run_id, via="shell")
