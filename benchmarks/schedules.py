"""Schedules that are due in the same second: from the beat's tick until each has its run and its row in the history.

Run it from the root: `python -m benchmarks.schedules [schedules] [--database=postgresql]`, on separate servers.
For comparison it launches the same number of runs by hand, one `services.launch` after another. It prints the median of
ROUNDS.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.servers import PostgresServer, RedisServer

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schedules", nargs="?", type=int, default=1_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp", ignore_cleanup_errors=True))
        prepare(Path(name), options.database, stack)
        measure(options.schedules)


def prepare(folder: Path, database: str, stack: ExitStack) -> None:
    """Point this process to servers that end with `stack`, and create the tables."""
    url = f"sqlite://{folder / 'db.sqlite3'}"
    if database == "postgresql":
        folder.chmod(0o711)
        url = stack.enter_context(PostgresServer(folder / "postgres")).url("postgres")
    redis = stack.enter_context(RedisServer(folder / "redis", socket_path=folder / "redis.sock"))
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        ATHANOR_VAR=str(folder / "var"),
        ATHANOR_REDIS_URL=redis.url,
        ATHANOR_DATABASE_URL=url,
    )
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    call_command("migrate", verbosity=0)
    stack.callback(connection.close)


def measure(count: int) -> None:
    """Print the time of `count` schedules, and of as many launches by hand."""
    from runs import services
    from runs.models import Run, Schedule
    from runs.schedules import tick
    from tests.schedules import make_many

    scheduled, by_hand = [], []
    for _ in range(ROUNDS):
        make_many(count)
        scheduled.append(seconds(lambda: tick.tick(budget_s=600)))
        launched = Run.objects.filter(schedule__isnull=False).count()
        if launched != count:
            raise SystemExit(f"Only {launched} of {count} runs were launched.")
        Schedule.objects.all().delete()
        Run.objects.all().delete()
        by_hand.append(seconds(lambda: [services.launch("scripted", configuration={}) for _ in range(count)]))
        Run.objects.all().delete()
    print(f"{count:,} due schedules: {statistics.median(scheduled):.2f} s (worst {max(scheduled):.2f} s)")
    print(f"{count:,} launches by hand: {statistics.median(by_hand):.2f} s (worst {max(by_hand):.2f} s)")


def seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
