"""RQ: a worker has one slot, and forks a process for each job."""

from __future__ import annotations

import os
import sys
from typing import Any

import redis
import rq
from rq.job import Job

URL = os.environ["BENCH_REDIS"]


def workers(number: int) -> list[list[str]]:
    command = [sys.executable, "-m", "rq.cli", "worker", "--url", URL]
    return [[*command, "jobs"]] * number + [[*command, "single"]]


class Queue:
    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(URL)
        self._queues = {
            single: rq.Queue(name, connection=self._redis) for single, name in ((False, "jobs"), (True, "single"))
        }

    def submit(self, job: str, *values: Any, single: bool = False) -> str:
        return str(self._queues[single].enqueue_call(f"benchmarks.work.{job}", args=values).id)

    def is_final(self, handle: str) -> bool:
        status = Job.fetch(handle, connection=self._redis).get_status().value
        if status == "failed":
            raise RuntimeError(f"The job {handle} failed.")
        return bool(status == "finished")
