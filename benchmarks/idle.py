"""Memory and CPU time of the whole of `manage.py up` while nothing runs.

    python -m benchmarks.idle [--seconds 30]

It starts `up` as `make run` does, without the demo, with its own Redis and SQLite in a temporary folder; waits until
the page answers and all is at rest; then measures the PSS of all its processes, and their CPU time. Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil

from benchmarks.contest import pss_mib, tree
from benchmarks.figures import Report, at_most
from benchmarks.ground import arguments
from benchmarks.machine import ROOT
from tests.servers import free_port
from tests.waiting import wait_until

SETTLE_S = 15
"""Time after which every process has done the work of its start."""
MEMORY_MAX_MIB, CPU_MAX_PERCENT = 260, 2.0


def main() -> None:
    options = arguments(__doc__, seconds=30)
    report = Report("idle", **vars(options))
    with up() as pid:
        time.sleep(SETTLE_S)
        processes = tree([pid])
        memory = pss_mib(processes)
        before = cpu_s(pid)
        time.sleep(options.seconds)
        percent = 100 * (cpu_s(pid) - before) / options.seconds
    note = f"{len(processes)} processes, with Redis"
    report.add("`up`, idle: memory", "MiB", [memory], target=at_most(MEMORY_MAX_MIB), note=note)
    report.add("`up`, idle: CPU time", "% of a core", [percent], target=at_most(CPU_MAX_PERCENT))
    report.finish()


@contextmanager
def up() -> Iterator[int]:
    """Run `manage.py up`; yield its pid once its page answers."""
    with tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp", ignore_cleanup_errors=True) as name:
        port, log = free_port(), Path(name) / "up.log"
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ATHANOR_")}
        environ["ATHANOR_VAR"] = str(Path(name) / "var")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(port), "--no-demo"],
                cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: process.poll() is not None or answers(port), timeout_s=120, what="the page of `up`")
            if process.poll() is not None:
                raise RuntimeError(f"`up` ended:\n{log.read_text(errors='replace')[-3000:]}")
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/favicon.ico")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and all below it, with those that have ended and were waited for."""
    total = 0.0
    for one in tree([pid]):
        try:
            times = psutil.Process(one).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
