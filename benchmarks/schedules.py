"""Schedules that are due in the same second: from the beat's tick until each has its run and its row in the history.

    python -m benchmarks.schedules [--schedules 1000] [--rounds 5] [--database sqlite]

Beside it as many launches by hand, one `services.launch` after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.figures import Beside, Report
from benchmarks.ground import arguments, ground
from benchmarks.machine import ROOT


def main() -> None:
    options = arguments(__doc__, database="sqlite", schedules=1_000, rounds=5)
    report = Report(f"schedules-{options.database}", **vars(options))
    with ground(options.database, ATHANOR_EXPERIMENT_PATHS=str(ROOT / "tests" / "scripted")):
        scheduled, by_hand = measure(options.schedules, options.rounds)
    beside = Beside("as many launches by hand", by_hand)
    report.add(f"{options.schedules:,} due schedules", "s", scheduled, beside=beside)
    report.finish()


def measure(count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of `count` schedules, and of as many launches by hand, in each round."""
    from runs import services
    from runs.models import Run, Schedule
    from runs.schedules import tick
    from tests.schedules import make_many

    scheduled, by_hand = [], []
    for _ in range(rounds):
        make_many(count)
        scheduled.append(seconds(lambda: tick.tick(budget_s=600)))
        launched = Run.objects.filter(schedule__isnull=False).count()
        if launched != count:
            raise SystemExit(f"Only {launched} of {count} runs were launched.")
        Schedule.objects.all().delete()
        Run.objects.all().delete()
        by_hand.append(seconds(lambda: [services.launch("scripted", configuration={}) for _ in range(count)]))
        Run.objects.all().delete()
    return scheduled, by_hand


def seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
