"""Reason why runs of an experiment start cold although it asks for warm starts, for its page."""

from __future__ import annotations

from runs import formatting
from runs.forkserver.templates import COLD
from runs.models import Attempt, Run

RUNS = 5
"""Newest runs that are looked at."""


def cold_start(experiment: str) -> str:
    """Return the reason of the newest attempt, as a sentence. Empty without one, or if it started warm."""
    newest = Run.objects.filter(experiment=experiment).order_by("-id").values_list("pk", flat=True)[:RUNS]
    attempts = Attempt.objects.filter(run__in=list(newest)).exclude(provenance={}).order_by("-run_id", "-number")
    provenance = attempts.values_list("provenance", flat=True).first() or {}
    start = str(provenance.get("start", ""))
    return formatting.printable(f"Starts cold: {start.removeprefix(COLD)}.") if start.startswith(COLD) else ""
