"""Celery: warm processes that execute one job after another, without isolation. Broker and results in Redis."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery
from celery.result import AsyncResult

from benchmarks import work

app = Celery(
    "benchmarks", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"].replace("redis+", "", 1)
)
app.conf.update(result_backend=f"redis+{app.conf.result_backend}", broker_connection_retry_on_startup=True)
tasks = {name: app.task(name=name)(job) for name, job in work.JOBS.items()}


def workers(number: int, program: str = "benchmarks.peers.celery_") -> list[list[str]]:
    command = [sys.executable, "-m", "celery", "-A", program, "worker", "-l", "WARNING"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [
        [*command, "-c", str(number), "-Q", "celery", "-n", "jobs@%h"],
        [*command, "-c", "1", "-Q", "single", "-n", "single@%h"],
    ]


class Queue:
    tasks: dict[str, Any] = tasks

    def submit(self, job: str, *values: Any, single: bool = False) -> str:
        return str(self.tasks[job].apply_async(args=values, queue="single" if single else "celery").id)

    def is_final(self, handle: str) -> bool:
        state = AsyncResult(handle, app=app).state  # anew: a result keeps its final state
        if state == "FAILURE":
            raise RuntimeError(f"The job {handle} failed.")
        return bool(state == "SUCCESS")
