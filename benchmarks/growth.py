"""Measure the same figures in an empty database, and with a million runs and many million lines.

    python -m benchmarks.growth [--runs 1000000] [--lines 10000000] [--rounds 3] [--database postgresql]

Each figure is a time, so that its ratio to the empty database grows when it becomes worse. The same processes serve
both; the tables are filled in between. `tests/integration/test_query_plans.py` asserts why: no hot query reads a big
table as a whole.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import rows
from benchmarks.contest import Mailbox
from benchmarks.contestants import Athanor, athanor
from benchmarks.figures import Beside, Report, ratio_at_most
from benchmarks.ground import arguments, ground
from benchmarks.last_lines import PAGE, ms
from benchmarks.lines import through_athanor
from tests.multiplying import minutes_ago, multiply, set_next_ids

RATIO_MAX = 1.3
LAUNCHES, BURST, LINES = 20, 100, 50_000
PAGES_EACH = 5


def main() -> None:
    options = arguments(__doc__, database="postgresql", rounds=3, runs=1_000_000, lines=10_000_000)
    report = Report(f"growth-{options.database}", **vars(options))
    with ground(options.database) as place, athanor(place, slots=4, whole=True) as ours:
        short = rows.new_run()
        (rows.copy if options.database == "postgresql" else rows.executemany)(short, 2 * PAGE)
        empty = [measure(ours, short) for _ in range(options.rounds)]
        longest = fill(options.runs, options.lines)
        full = [measure(ours, longest) for _ in range(options.rounds)]
    for name in empty[0]:
        report.add(
            name, "ms", [measured[name] for measured in full], target=ratio_at_most(RATIO_MAX),
            beside=Beside("in an empty database", [measured[name] for measured in empty]),
        )  # fmt: skip
    report.finish()


def measure(ours: Athanor, longest: int) -> dict[str, float]:
    """Measure once; `longest` is the run whose last lines are read."""
    from django.urls import reverse

    from runs.lines import reading

    box = Mailbox()
    try:
        rate, lag_s = through_athanor(box, LINES)
    finally:
        box.close()
    client = admin()
    listed, home = reverse("admin:runs_run_changelist"), reverse("admin:index")
    return {
        "launch to first line": statistics.median(ours.first_line(LAUNCHES)),
        "each of a burst of short runs": 1000 / ours.burst(BURST)["jobs_s"],
        "each line to a committed row": 1000 / rate,
        "lag until the last line is readable": 1000 * lag_s,
        f"last {PAGE:,} lines of a run": often(lambda: reading.before(longest, limit=PAGE)),
        "list of runs": often(lambda: client.get(listed)),
        "home": often(lambda: client.get(home)),
        "page of a run": often(lambda: client.get(reverse("admin:runs_run_change", args=[longest]))),
    }


def often(read: Any) -> float:
    return statistics.median(ms(read) for _ in range(PAGES_EACH))


def admin() -> Any:
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    user, _ = get_user_model().objects.get_or_create(username="bench", is_superuser=True, is_staff=True)
    client.force_login(user)
    return client


def fill(runs: int, lines: int) -> int:
    """Add ended runs with their attempts and task results, and the lines of one run; return its id."""
    from django.db import connection
    from django_celery_results.models import TaskResult

    from runs.models import Attempt, Run
    from runs.states import Status

    began = time.monotonic()
    ended = Run.objects.filter(status=Status.COMPLETED).latest("pk")
    attempt, task = ended.attempts.get(), TaskResult.objects.create(task_id="task")
    multiply(Run, ended.pk, runs, id="id + i", name="'run ' || i", created_at=minutes_ago())
    multiply(Attempt, attempt.pk, runs, id=f"{attempt.pk} + i", run_id="run_id + i", task_id="'task ' || i")
    multiply(TaskResult, task.pk, runs, id="id + i", task_id="'task ' || i")
    set_next_ids("runs_run", "runs_attempt", "django_celery_results_taskresult")
    longest = rows.new_run()
    (rows.copy if connection.vendor == "postgresql" else rows.executemany)(longest, lines)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"filled with {runs:,} runs and {lines:,} lines in {time.monotonic() - began:.0f} s")
    return longest


if __name__ == "__main__":
    main()
