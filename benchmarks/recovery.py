"""Seconds from `kill -9` of a worker to the first line of the next attempt, for each way to recover.

python -m benchmarks.recovery [--rounds 5]

same host     the worker's supervisor (`up`, systemd, a container engine) restarts it: at most 3 s are promised
other worker  another worker of this host is free
host gone     nobody can check the process, so the lease decides: at most lease + 5 s are promised
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Report, at_most
from benchmarks.ground import arguments, ground
from benchmarks.machine import ROOT
from tests.stack import Stack

if TYPE_CHECKING:
    from runs.models import Attempt, Run
    from tests.stack import Process


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


def main() -> None:
    options = arguments(__doc__, rounds=5)
    report = Report("recovery", **vars(options))
    scripted = str(ROOT / "tests" / "scripted")
    with ground("sqlite", ATHANOR_EXPERIMENT_PATHS=scripted) as place, Stack(place.folder / "stack") as stack:
        from runs.conf import runs_settings

        promised = {"same host": 3.0, "other worker": 3.0, "host gone": runs_settings().lease_s + 5}
        stack.system()
        stack.beat()
        for way, limit in promised.items():
            took, lived = zip(*[measure(stack, way, number) for number in range(options.rounds)], strict=True)
            name = f"kill of a worker to the next attempt's first line, {way}"
            note = f"the old child lived on for {1000 * max(lived):.0f} ms at most"
            report.add(name, "s", took, target=at_most(limit), note=note)
    report.finish()


if __name__ == "__main__":
    main()
