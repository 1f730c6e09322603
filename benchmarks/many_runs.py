"""Benchmark of RUNS concurrent runs on one worker, each with LINES_A_SECOND short lines: do they keep their leases?

`python -m benchmarks.many_runs [sqlite|postgresql]` prints how many completed, in how many attempts, and the worst age
of the worker's heartbeat. Everything is allowed to be slow; no run may be lost.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

RUNS = int(os.environ.get("BENCH_RUNS", "200"))
LINES_A_SECOND = 20
SECONDS = int(os.environ.get("BENCH_SECONDS", "60"))
PATIENCE_S = 1200.0
ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from tests.servers import PostgresServer


def prepare(folder: Path, database: str) -> PostgresServer | None:
    """Point this process, and those it starts, to a ground of its own."""
    sys.path.insert(0, str(ROOT))
    from tests.servers import PostgresServer

    url, server = f"sqlite://{folder / 'db.sqlite3'}", None
    if database == "postgresql":
        folder.chmod(0o711)
        server = PostgresServer(folder / "postgres")
        server.start()
        server.create_database("bench")
        url = server.url("bench")
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        ATHANOR_VAR=str(folder / "var"),
        ATHANOR_REDIS_URL=f"unix://{folder / 'redis.sock'}",
        ATHANOR_DATABASE_URL=url,
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    return server


def launch() -> list[Any]:
    from runs import services

    count = LINES_A_SECOND * SECONDS
    config = {"behaviour": "log_many", "count": count, "pause_s": 1 / LINES_A_SECOND}
    return [services.launch("scripted", configuration=config) for _ in range(RUNS)]


def watch() -> float:
    """Wait until all runs have ended; return the worst age of a heartbeat meanwhile, in seconds."""
    from django.utils import timezone

    from runs.models import Run, Worker
    from runs.states import ACTIVE

    worst, deadline, reported_at = 0.0, time.monotonic() + PATIENCE_S, 0.0
    while Run.objects.filter(status__in=ACTIVE).exists() and time.monotonic() < deadline:
        for worker in Worker.objects.all():
            worst = max(worst, (timezone.now() - worker.heartbeat_at).total_seconds())
        if time.monotonic() - reported_at > 10:
            reported_at = time.monotonic()
            counts = Counter(Run.objects.values_list("status", flat=True))
            print(f"    {dict(counts)}, oldest heartbeat {worst:.1f} s, load {os.getloadavg()[0]:.0f}", flush=True)
        time.sleep(0.5)
    return worst


def report(worst: float, took_s: float) -> None:
    from django.db.models import Count

    from runs.models import LogLine, Run

    ends = Counter(Run.objects.values_list("status", "failure_kind"))
    attempts = Counter(Run.objects.annotate(tries=Count("attempts")).values_list("tries", flat=True))
    lines = LogLine.objects.filter(source="log").count()
    print(f"{RUNS} runs in {took_s:.0f} s: {dict(ends)}, attempts {dict(attempts)}, {lines:,} lines")
    print(f"oldest heartbeat {worst:.1f} s")


def main(database: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp") as name:
        folder = Path(name)
        postgres = prepare(folder, database)
        from tests.servers import RedisServer
        from tests.stack import Stack

        try:
            with RedisServer(folder / "redis", socket_path=folder / "redis.sock"), Stack(folder / "stack") as stack:
                stack.whole(slots=RUNS)
                began = time.monotonic()
                launch()
                report(watch(), time.monotonic() - began)
                if keep := os.environ.get("BENCH_LOGS"):
                    for process in stack.processes:
                        (Path(keep) / process.log.name).write_bytes(process.log.read_bytes())
        finally:
            if postgres is not None:
                postgres.stop()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite")
