"""Launches a second without a worker: one `launch` after another, and `launch_many` of a thousand.

    python -m benchmarks.launches [--rounds 5] [--runs 500] [--database postgresql] [--peers]

Beside it, a plain INSERT of one row and its commit, which is the floor of a launch: a run that was accepted is on disk.
With `--peers` also RQ's and Celery's enqueueing, which write to Redis only.
"""

from __future__ import annotations

import time

from benchmarks.contest import Contest
from benchmarks.contestants import CELERY, RQ, AthanorQueue, beside
from benchmarks.figures import Beside, Report, at_least, at_most
from benchmarks.ground import arguments, ground

MANY = 1000
FLOOR = "an INSERT and its commit"


def main() -> None:
    options = arguments(__doc__, database="postgresql", peers=True, rounds=5, runs=500)
    report = Report(f"launches-{options.database}", **vars(options))
    rates: dict[str, list[float]] = {}
    many = []
    with (
        ground(options.database) as place,
        beside(place, peers=options.peers, kinds=(RQ, CELERY), workers=0) as others,
    ):
        ours = Contest(AthanorQueue())
        for _ in range(options.rounds):
            rates.setdefault("Athanor", []).append(ours.submitted(options.runs))
            many.append(launch_many_s())
            rates.setdefault(FLOOR, []).append(commits(options.runs))
            for name, other in others.items():
                rates.setdefault(name, []).append(other.submitted(options.runs))
        ours.box.close()
    for name in (RQ.name, FLOOR, CELERY.name):
        if name == RQ.name or name in rates:
            target = at_least(1000) if name == RQ.name else None
            report.add("launches", "runs/s", rates["Athanor"], beside=Beside(name, rates.get(name, [])), target=target)
    report.add(f"launch_many of {MANY:,}", "s", many, target=at_most(1))
    report.finish()


def launch_many_s() -> float:
    """Return the seconds of one `launch_many`."""
    from runs import services

    began = time.monotonic()
    services.launch_many("measured", [{"job": "noop"}] * MANY)
    return time.monotonic() - began


def commits(count: int) -> float:
    """Return the rows a second of INSERTs into a table of one column, each with its commit."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS benchmark (number integer)")
        began = time.monotonic()
        for number in range(count):
            cursor.execute("INSERT INTO benchmark VALUES (%s)", [number])
    return count / (time.monotonic() - began)


if __name__ == "__main__":
    main()
