"""Launch latency and line throughput, each beside what it is compared with, in one run.

    python -m benchmarks.first_line_and_lines [--rounds 5] [--launches 20] [--lines 300000] [--database postgresql]

* latency: from `services.launch` to the first line of user code in its own process, against a bare Celery task in a
threads
  worker on the same broker, from `delay` to its first line of code.
* lines: from the first line of user code until all are committed rows (numbered, buffered, idempotent), against one
plain
  `bulk_create` per second of the same lines by a single process that does nothing else.

Rounds alternate, and the ratios are taken within a round: the machine's noise falls on both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.servers import PostgresServer, RedisServer
from tests.waiting import wait_until


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--launches", type=int, default=20, help="per round")
    parser.add_argument("--lines", type=int, default=300_000, help="per round")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    with servers(options.database) as folder:
        import django

        django.setup()
        measure(folder, options)


@contextmanager
def servers(database: str) -> Iterator[Path]:
    """Start Redis and a database in a temporary folder, and set the environment to use them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")))
        redis = stack.enter_context(RedisServer(folder / "redis", socket_path=folder / "redis.sock"))
        if database == "postgresql":
            url = stack.enter_context(PostgresServer(folder / "postgres")).url("postgres")
        else:
            url = f"sqlite://{folder / 'db.sqlite3'}"
        os.environ.update(
            DJANGO_SETTINGS_MODULE="athanor.settings",
            ATHANOR_VAR=str(folder / "var"),
            ATHANOR_REDIS_URL=redis.url,
            ATHANOR_DATABASE_URL=url,
            ATHANOR_EXPERIMENT_PATHS=str(Path(__file__).resolve().parent.parent / "tests" / "scripted"),
            BARE_BROKER=f"redis+socket://{folder / 'redis.sock'}?virtual_host=9",
        )
        yield folder


def measure(folder: Path, options: argparse.Namespace) -> None:
    from django.core.management import call_command

    from tests.stack import Stack

    call_command("migrate", verbosity=0)
    with bare_worker(folder), Stack(folder / "stack") as stack:
        stack.whole(slots=2)
        rows: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            note(rows, "launch to first line, ms", [athanor_latency() for _ in range(options.launches)])
            note(rows, "bare Celery task, ms", [bare_latency(folder) for _ in range(options.launches)])
            note(rows, "Athanor, lines/s", [athanor_lines(options.lines)])
            note(rows, "one bulk_create a second, lines/s", [bulk_create_lines(options.lines)])
    show(rows, options)


def note(rows: dict[str, list[float]], name: str, values: list[float]) -> None:
    rows.setdefault(name, []).append(statistics.median(values))


def show(rows: dict[str, list[float]], options: argparse.Namespace) -> None:
    print(
        f"{options.rounds} rounds, {options.launches} launches and {options.lines:,} lines each, {options.database}\n"
    )
    print(f"{'medians of the rounds':<36}{'min':>12}{'median':>12}{'max':>12}")
    for name, values in rows.items():
        print(f"{name:<36}{min(values):>12,.1f}{statistics.median(values):>12,.1f}{max(values):>12,.1f}")
    latency, bare, lines, bulk = rows.values()
    for name, over, under in (
        ("latency, Athanor : bare", latency, bare),
        ("lines/s, Athanor : bulk_create", lines, bulk),
    ):
        ratios = [a / b for a, b in zip(over, under, strict=True)]
        print(f"{name:<36}{min(ratios):>12.2f}{statistics.median(ratios):>12.2f}{max(ratios):>12.2f}")


@contextmanager
def bare_worker(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.bare", "worker", "-P", "threads", "-c", "2"]
    quiet = ["-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with (folder / "bare.log").open("wb") as log:
        worker = subprocess.Popen([*command, *quiet], stdout=log, stderr=log)
    try:
        bare_latency(folder)
        yield
    finally:
        worker.terminate()
        worker.wait(30)


def bare_latency(folder: Path) -> float:
    """Milliseconds from `delay` to the task's first line."""
    from benchmarks.bare import stamp

    path = folder / "stamp"
    path.unlink(missing_ok=True)
    began = time.time()
    stamp.delay(str(path))
    wait_until(path.exists, timeout_s=60, what="the bare task", every_s=0.001)
    return (float(path.read_text()) - began) * 1000


def athanor_latency() -> float:
    """Milliseconds from `launch` to the first line of user code."""
    from runs import services

    began = time.time()
    run = services.launch("scripted", configuration={"behaviour": "log_many", "count": 1})
    finish(run)
    return (run.lines.get(message="line 0").time.timestamp() - began) * 1000


def athanor_lines(number: int) -> float:
    """Lines a second from the first line of user code until the run is final, which it is only with all rows
    committed.
    """
    from runs import services

    run = services.launch("scripted", configuration={"behaviour": "flood", "count": number})
    finish(run)
    run.refresh_from_db()
    attempt = run.attempts.get()
    assert run.lines.count() == attempt.lines_emitted
    assert run.finished_at is not None
    assert attempt.started_at is not None
    return number / (run.finished_at - attempt.started_at).total_seconds()


def bulk_create_lines(number: int) -> float:
    """Return the lines a second of the simplest alternative: collect lines for a second, then `bulk_create` them."""
    from django.utils import timezone

    from runs.models import LogLine
    from tests.factories import make_run

    run = make_run(queue="nobody")
    collected: list[Any] = []
    began = flushed = time.monotonic()
    for seq in range(1, number + 1):
        now = timezone.now()
        collected.append(LogLine(run=run, attempt=1, seq=seq, time=now, level=20, source="log", message=f"line {seq}"))
        if time.monotonic() - flushed >= 1.0:
            LogLine.objects.bulk_create(collected, batch_size=5000)
            collected, flushed = [], time.monotonic()
    LogLine.objects.bulk_create(collected, batch_size=5000)
    return number / (time.monotonic() - began)


def finish(run: Any) -> None:
    final: Callable[[], bool] = lambda: type(run).objects.get(pk=run.pk).is_final  # noqa: E731
    wait_until(final, timeout_s=300, what=f"run {run.pk}", every_s=0.01)


if __name__ == "__main__":
    main()
