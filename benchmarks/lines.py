"""Lines a second from user code to committed rows, and how long the last of them takes to be readable.

    python -m benchmarks.lines [--rounds 3] [--lines 300000] [--database postgresql]

One run logs as fast as it can through the whole of Athanor: child, worker, Redis, system worker, database. Beside it,
in the same database and the same table with its indexes, a process that does nothing else stores lines of the same
length: by one COPY (PostgreSQL), by `executemany` (SQLite), and by `bulk_create`. They take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import rows
from benchmarks.contest import Mailbox
from benchmarks.contestants import OURS, athanor
from benchmarks.figures import Beside, Report, at_most, ratio_at_least
from benchmarks.ground import arguments, ground
from tests.waiting import wait_until

LAG_MAX_S = 1.0
PATIENCE_S = 300.0
POLL_S = 0.02


def main() -> None:
    options = arguments(__doc__, database="postgresql", rounds=3, lines=300_000)
    report = Report(f"lines-{options.database}", **vars(options))
    is_postgres = options.database == "postgresql"
    fastest = ("one plain COPY", rows.copy) if is_postgres else ("executemany", rows.executemany)
    rates: dict[str, list[float]] = {OURS: [], fastest[0]: [], "bulk_create": []}
    lags = []
    with ground(options.database) as place, athanor(place, slots=2, whole=True):
        box = Mailbox()
        for _ in range(options.rounds):
            rate, lag = through_athanor(box, options.lines)
            rates[OURS].append(rate)
            lags.append(lag)
            rates[fastest[0]].append(rate_of(fastest[1], options.lines))
            rates["bulk_create"].append(rate_of(rows.bulk_create, options.lines))
        box.close()
    for name, target in ((fastest[0], ratio_at_least(0.6 if is_postgres else 0.5)), ("bulk_create", ratio_at_least(3))):
        report.add("lines to committed rows", "lines/s", rates[OURS], beside=Beside(name, rates[name]), target=target)
    report.add("lag at that rate until the last line is readable", "s", lags, target=at_most(LAG_MAX_S))
    report.finish()


def through_athanor(box: Mailbox, count: int) -> tuple[float, float]:
    """Execute a run that logs `count` lines. Return the lines a second until the last is readable, and its lag in s."""
    from runs import services
    from runs.models import LogLine

    run = services.launch("lines", configuration={"count": count, "box": box.path})
    told = box.get(PATIENCE_S)
    last = LogLine.objects.filter(run_id=run.pk, attempt=1, seq=count, source="log")
    wait_until(last.exists, timeout_s=PATIENCE_S, what="the last line", every_s=POLL_S)
    readable = time.monotonic_ns()
    if run.lines.filter(source="log").count() != count:
        raise RuntimeError(f"Run {run.pk} has not all of its {count:,} lines.")
    return count / ((readable - told["began"]) / 1e9), (readable - told["ended"]) / 1e9


def rate_of(store: Callable[[int, int], None], count: int) -> float:
    """Return the lines a second of a function of `rows`."""
    run_id = rows.new_run()
    began = time.monotonic()
    store(run_id, count)
    return count / (time.monotonic() - began)


if __name__ == "__main__":
    main()
