"""200 runs at once on one worker, each with 20 lines a second: does it keep their leases?

    python -m benchmarks.many_runs [--runs 200] [--seconds 60] [--database postgresql]

Met is: each run completes in its first attempt with all of its lines, and no heartbeat is older than the lease allows.
Each may be slow on a busy machine; none may be lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import athanor
from benchmarks.figures import Report, at_least, at_most
from benchmarks.ground import arguments, ground

LINES_A_SECOND = 20
PATIENCE_S = 1200.0
LOOK_EVERY_S = 0.5
"""Pause between two looks at the heartbeat."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of the runs."""

    completed_at_once: int
    """Runs that completed in their first attempt."""
    lines: int
    oldest_heartbeat_s: float
    took_s: float


def main() -> None:
    options = arguments(__doc__, database="postgresql", runs=200, seconds=60)
    report = Report(f"many_runs-{options.database}", **vars(options))
    with ground(options.database) as place, athanor(place, slots=options.runs, whole=True):
        from runs.conf import runs_settings

        outcome = measure(options.runs, options.seconds)
        oldest_s = runs_settings().lease_s - runs_settings().lease_margin_s
    lines = options.runs * options.seconds * LINES_A_SECOND
    report.add("runs that completed in one attempt", "", [outcome.completed_at_once], target=at_least(options.runs))
    report.add("their lines that are stored", "", [outcome.lines], target=at_least(lines))
    report.add("oldest heartbeat", "s", [outcome.oldest_heartbeat_s], target=at_most(oldest_s))
    report.add(f"time for {options.seconds} s of each run", "s", [outcome.took_s])
    report.finish()


def measure(runs: int, seconds: int) -> Outcome:
    """Launch the runs at once and wait until all have ended."""
    from django.db.models import Count

    from runs import services
    from runs.models import LogLine, Run
    from runs.states import Status

    began = time.monotonic()
    configuration = {"rate": LINES_A_SECOND, "seconds": seconds}
    launched = services.launch_many("paced", [configuration] * runs)
    ids = [run.pk for run in launched]
    oldest_s = watch(ids)
    took_s = time.monotonic() - began
    completed = Run.objects.filter(pk__in=ids, status=Status.COMPLETED).annotate(attempts_made=Count("attempts"))
    lines = LogLine.objects.filter(run_id__in=ids, source="log").count()
    return Outcome(completed.filter(attempts_made=1).count(), lines, oldest_s, took_s)


def watch(ids: list[int]) -> float:
    """Wait until all runs have ended; return the greatest age of a heartbeat meanwhile, in seconds."""
    from django.utils import timezone

    from runs.models import Run, Worker
    from runs.states import ACTIVE

    oldest_s, deadline = 0.0, time.monotonic() + PATIENCE_S
    active: Any = Run.objects.filter(pk__in=ids, status__in=ACTIVE)
    while active.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{active.count()} runs did not end within {PATIENCE_S:g} s.")
        for worker in Worker.objects.filter(stopped_at=None):
            oldest_s = max(oldest_s, (timezone.now() - worker.heartbeat_at).total_seconds())
        time.sleep(LOOK_EVERY_S)
    return oldest_s


if __name__ == "__main__":
    main()
