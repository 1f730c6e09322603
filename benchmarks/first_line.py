"""Time from the launch of a run to its first line of user code, with a free slot and for a run that waited for one.

    python -m benchmarks.first_line [--rounds 5] [--launches 20] [--database sqlite] [--peers]

Beside it a plain fork, and with `--peers`: RQ, which forks for each job; Celery, which does not isolate jobs; and
Celery with a task that starts a fresh process with Django, which is isolation as a user would write it. Contestants
take turns in each round. Waiting runs are measured twice: from the last line of user code of the run before, which any
job system can be asked for, and from the time at which that run was final in the database, when its slot is free.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from benchmarks.contestants import RQ, SINGLE, Athanor, Peer, athanor, beside, named
from benchmarks.figures import Beside, Report, at_most, quantile, ratio_at_most
from benchmarks.ground import arguments, ground

P50, P95, WAITED = "p50", "p95", "waited"
WAITED_TO_FREE_MAX = 1.5


def main() -> None:
    options = arguments(__doc__, database="postgresql", peers=True, rounds=5, launches=20, waits=10)
    report = Report(f"first_line-{options.database}", **vars(options))
    with (
        ground(options.database) as place,
        athanor(place, slots=4, single=True) as ours,
        beside(place, peers=options.peers) as others,
    ):
        rounds: dict[str, list[dict[str, float]]] = {}
        slot_free: list[float] = []
        for _ in range(options.rounds):
            for name, contestant in named(ours, others):
                rounds.setdefault(name, []).append(measure(contestant, options.launches, options.waits))
            slot_free.append(from_free_slot(options.waits))
    show(report, rounds, slot_free)


def measure(contestant: Athanor | Peer, launches: int, waits: int) -> dict[str, float]:
    """Measure one contestant in one round."""
    took = contestant.first_line(launches)
    return {P50: quantile(took, 0.5), P95: quantile(took, 0.95), WAITED: quantile(contestant.waited(waits), 0.5)}


def from_free_slot(waits: int) -> float:
    """Return the median ms from the end of a run in the database to the first line of the next, for the last runs."""
    from runs.models import Run

    runs = Run.objects.filter(queue=SINGLE, finished_at__isnull=False).order_by("-pk")
    ends: list[Any] = list(runs.values_list("finished_at", "summary__began")[: waits + 1])
    wall_ms = (time.time_ns() - time.monotonic_ns()) / 1e6
    gaps = [began / 1e6 + wall_ms - ended.timestamp() * 1000 for (ended, _), (_, began) in pairwise(reversed(ends))]
    return quantile(gaps, 0.5)


def show(report: Report, rounds: dict[str, list[dict[str, float]]], slot_free: list[float]) -> None:
    def series(name: str, what: str) -> list[float]:
        return [measured[what] for measured in rounds.get(name, [])]

    free, reference = series("Athanor", P50), Beside(RQ.name, series(RQ.name, P50))
    target = ratio_at_most(0.75)
    report.add("launch to first line, p50", "ms", free, beside=reference, target=target)
    spread = [late / early for late, early in zip(series("Athanor", P95), free, strict=True)]
    report.add("launch to first line, p95", "ms", series("Athanor", P95), beside=Beside(RQ.name, series(RQ.name, P95)))
    report.add("p95 as a multiple of p50", "×", spread, target=at_most(2))
    report.add(
        "waited for a slot: slot free to first line", "ms", slot_free,
        beside=Beside("launch, free slot", free), target=ratio_at_most(WAITED_TO_FREE_MAX),
    )  # fmt: skip
    report.add(
        "waited for a slot: end of the run before to first line", "ms", series("Athanor", WAITED),
        beside=Beside(RQ.name, series(RQ.name, WAITED)),
    )  # fmt: skip
    for name in rounds:
        if name not in ("Athanor", RQ.name):
            report.add("launch to first line, p50", "ms", free, beside=Beside(name, series(name, P50)))
    report.finish()


if __name__ == "__main__":
    main()
