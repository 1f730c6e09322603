"""Short runs a second: runs that do nothing, from the first launch to the last stored end.

    python -m benchmarks.short_runs [--rounds 3] [--runs 300] [--database postgresql] [--peers]

With 4 and with 100 slots, beside a plain fork (its ends are not stored anywhere), and with `--peers` beside RQ with
two workers, which is as many as there are cores here, and Celery with two processes. Contestants take turns.
"""

from __future__ import annotations

from benchmarks.contestants import CELERY, FLOOR, RQ, athanor, beside, named
from benchmarks.figures import Beside, Report, Target, ratio_at_least
from benchmarks.ground import arguments, ground

SLOTS = {4: ratio_at_least(1.1), 100: None}


def main() -> None:
    options = arguments(__doc__, database="postgresql", peers=True, rounds=3, runs=300)
    report = Report(f"short_runs-{options.database}", **vars(options))
    with (
        ground(options.database) as place,
        beside(place, peers=options.peers, kinds=(FLOOR, RQ, CELERY), workers=2) as others,
    ):
        for slots, target in SLOTS.items():
            rates: dict[str, list[float]] = {"Athanor": []}
            with athanor(place, slots=slots) as ours:
                for _ in range(options.rounds):
                    for name, contestant in named(ours, others):
                        rates.setdefault(name, []).append(contestant.burst(options.runs)["jobs_s"])
            show(report, slots, rates, target)
    report.finish()


def show(report: Report, slots: int, rates: dict[str, list[float]], target: Target | None) -> None:
    """Add the figure of one number of slots, beside RQ first, and then beside each other contestant."""
    name = f"short runs with {slots} slots"
    report.add(name, "runs/s", rates["Athanor"], beside=Beside(RQ.name, rates.get(RQ.name, [])), target=target)
    for other in (FLOOR, CELERY):
        if other.name in rates:
            report.add(name, "runs/s", rates["Athanor"], beside=Beside(other.name, rates[other.name]))


if __name__ == "__main__":
    main()
