"""Benchmark of recovery: seconds from `kill -9` of a worker to the first line of the next attempt.

Prints one line for each way to recover, the median and the worst of ROUNDS:

    same host     the worker's supervisor (`up`, systemd, a container engine) restarts it: at most 3 s are promised
    other worker  another worker of this host is free
    host gone     nobody can check the process, so the lease decides: at most lease + 5 s are promised
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROUNDS = 5
ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from runs.models import Attempt, Run
    from tests.stack import Process, Stack


def prepare(folder: Path) -> None:
    """Point this process, and those it starts, to a temporary database and Redis."""
    sys.path.insert(0, str(ROOT))
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        ATHANOR_VAR=str(folder / "var"),
        ATHANOR_REDIS_URL=f"unix://{folder / 'redis.sock'}",
        ATHANOR_DATABASE_URL=f"sqlite://{folder / 'db.sqlite3'}",
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def launched(queue: str) -> Run:
    """Launch a run that logs every 10 ms; return it after its first line."""
    from runs import services
    from tests.waiting import wait_until

    config = {"behaviour": "log_many", "count": 100_000, "pause_s": 0.01}
    run = services.launch("scripted", configuration=config, queue=queue)
    wait_until(lambda: run.lines.filter(attempt=1).exists(), timeout_s=60, what="its first line")
    return run


def first_line_after(run: Run, killed_at: float) -> tuple[float, Attempt]:
    """Return the seconds from the kill to the first line of the second attempt, by this machine's clock."""
    from tests.waiting import wait_until

    wait_until(lambda: run.lines.filter(attempt=2).exists(), timeout_s=120, what="the next attempt's first line")
    line = run.lines.filter(attempt=2).earliest("seq")
    return line.time.timestamp() - killed_at, run.attempts.get(number=1)


def kill(worker: Process, child_pid: int) -> tuple[float, float]:
    """Kill a worker; return the time of the kill, and how long its child outlived it."""
    killed_at = time.time()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    while Path(f"/proc/{child_pid}").exists() and time.time() - killed_at < 10:
        time.sleep(0.001)
    return killed_at, time.time() - killed_at


def measure(stack: Stack, way: str, number: int) -> tuple[float, float]:
    """Measure one round: seconds to the next attempt's first line, and seconds that the old child lived on."""
    from runs import services
    from runs.models import Worker

    queue = f"bench-{way.replace(' ', '-')}-{number}"
    worker = stack.worker(queue, queues=queue)
    run = launched(queue)
    child_pid = run.attempts.get(number=1).child_pid or 0
    if way == "host gone":
        Worker.objects.filter(pid=worker.pid).update(host="elsewhere")
    if way != "same host":
        stack.worker(f"{queue}-2", queues=queue)
    killed_at, lived_s = kill(worker, child_pid)
    if way == "same host":
        worker.start()
    took_s, _ = first_line_after(run, killed_at)
    services.cancel(run.pk, by="the benchmark")
    for process in [p for p in stack.processes if p.name.startswith(queue)]:
        process.stop()
        stack.processes.remove(process)
    return took_s, lived_s


def report(way: str, rounds: list[tuple[float, float]], promised: str) -> None:
    took, lived = zip(*rounds, strict=True)
    print(
        f"{way:<13} {statistics.median(took):6.2f} s median {max(took):6.2f} s worst  (promised: {promised});"
        f" the old child lived on for {max(lived) * 1000:.0f} ms at most"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp") as name:
        folder = Path(name)
        prepare(folder)
        from runs.conf import runs_settings
        from tests.servers import RedisServer
        from tests.stack import Stack

        promised: dict[str, Callable[[], Any]] = {
            "same host": lambda: "3 s",
            "other worker": lambda: "3 s",
            "host gone": lambda: f"{runs_settings().lease_s + 5:g} s",
        }
        with RedisServer(folder / "redis", socket_path=folder / "redis.sock"), Stack(folder / "stack") as stack:
            stack.system()
            stack.beat()
            for way, promise in promised.items():
                report(way, [measure(stack, way, number) for number in range(ROUNDS)], promise())


if __name__ == "__main__":
    main()
