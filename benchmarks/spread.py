"""Eight workers with names of their own: thousands of short runs, each executed once, spread evenly.

    python -m benchmarks.spread [--workers 8] [--slots 4] [--runs 5000] [--database postgresql]

All runs are launched before the workers take the first, so that runs wait until the last claim. Idle is a worker that
executes no run meanwhile, from its first claim on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from benchmarks.figures import Report, at_least, at_most
from benchmarks.ground import arguments, ground
from tests.stack import Stack

EVEN_MIN, EVEN_MAX = 0.7, 1.3
"""Share of a worker as a multiple of the even share."""
IDLE_MAX_S = 1.0
PATIENCE_S = 1800.0

Executed = tuple[int, datetime, datetime]
"""(worker, claimed, finished) of an attempt."""


def main() -> None:
    options = arguments(__doc__, database="postgresql", workers=8, slots=4, runs=5000)
    report = Report(f"spread-{options.database}", **vars(options))
    with ground(options.database) as place, Stack(place.folder / "stack") as stack:
        from runs import services

        ids = [run.pk for run in services.launch_many("measured", [{"job": "noop"}] * options.runs)]
        began = time.monotonic()
        with stack.at_once():
            for number in range(options.workers):
                stack.worker(f"worker{number}", slots=options.slots)
        wait(ids)
        took_s = time.monotonic() - began
        executed, once = attempts_of(ids)
    even = len(executed) / options.workers
    counts = shares(executed)
    report.add("runs executed exactly once", "", [once], target=at_least(options.runs))
    report.add("smallest share of a worker", "× even", [min(counts) / even], target=at_least(EVEN_MIN))
    report.add("largest share of a worker", "× even", [max(counts) / even], target=at_most(EVEN_MAX))
    idle = longest_idle_s(executed)
    report.add("longest time that a worker was idle while runs waited", "s", [idle], target=at_most(IDLE_MAX_S))
    report.add("runs a second, with the start of the workers", "runs/s", [options.runs / took_s])
    report.finish()


def wait(ids: list[int]) -> None:
    """Wait until all runs have ended."""
    from runs.models import Run
    from runs.states import ACTIVE

    deadline = time.monotonic() + PATIENCE_S
    active = Run.objects.filter(pk__gte=min(ids), pk__lte=max(ids), status__in=ACTIVE)
    while active.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{active.count()} runs did not end within {PATIENCE_S:g} s.")
        time.sleep(0.5)  # rarely: the query takes time from the runs


def attempts_of(ids: list[int]) -> tuple[list[Executed], int]:
    """Return all attempts of the runs, and the number of runs that completed in their only one."""
    from django.db.models import Count

    from runs.models import Attempt, Run
    from runs.states import Status

    rows = Attempt.objects.filter(run_id__in=ids).values_list("worker_id", "claimed_at", "finished_at")
    executed = [(worker, claimed, end) for worker, claimed, end in rows if worker is not None and end is not None]
    completed = Run.objects.filter(pk__in=ids, status=Status.COMPLETED).annotate(attempts_made=Count("attempts"))
    return executed, completed.filter(attempts_made=1).count()


def shares(executed: Iterable[Executed]) -> list[int]:
    """Return the number of attempts of each worker that had any."""
    counts: dict[int, int] = defaultdict(int)
    for worker, _, _ in executed:
        counts[worker] += 1
    return list(counts.values())


def longest_idle_s(executed: Iterable[Executed]) -> float:
    """Return the longest time for which a worker, after its first claim, had no open attempt while runs waited."""
    of_worker: dict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    for worker, claimed, finished in executed:
        of_worker[worker].append((claimed, finished))
    last_claim = max(claimed for times in of_worker.values() for claimed, _ in times)
    return max(_longest_gap_s(sorted(times), last_claim) for times in of_worker.values())


def _longest_gap_s(times: list[tuple[datetime, datetime]], until: datetime) -> float:
    longest, busy_until = 0.0, times[0][1]
    for claimed, finished in [*times[1:], (until, until)]:
        longest = max(longest, (claimed - busy_until).total_seconds())
        busy_until = max(busy_until, finished)
    return longest


if __name__ == "__main__":
    main()
