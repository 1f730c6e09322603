"""Bare Celery task, the baseline for the launch latency: no isolation, no supervision, no row."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

app = Celery("bare", broker=os.environ.get("BARE_BROKER", ""), set_as_current=False)
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task(name="bare.stamp")
def stamp(path: str) -> None:
    """Write the time of the task's first line of code."""
    now = time.time()
    written = Path(f"{path}.tmp")
    written.write_text(repr(now))
    written.rename(path)
