"""Wake the consumer of a worker when a slot becomes free.

While all slots are busy, the consumer asks the broker for no message, and its event loop sleeps for up to one second:
in the threads pool nothing tells the loop that a task has ended. Here the pool's thread writes to a pipe that the loop
reads. The loop is built anew after an outage of the broker, so the pipe is registered at each start of the consumer.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from celery import bootsteps
from celery.worker.request import Request


class Wakeup:
    """A pipe on which any thread wakes an event loop. Never blocks."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        with suppress(BlockingIOError):  # the pipe is full: the loop wakes anyhow
            os.write(self._write, b"\0")

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read, 4096)


slot_free = Wakeup()


class WakingRequest(Request):  # type: ignore[misc]  # celery is untyped
    """A request that wakes the consumer once its slot is free. Celery calls these methods in the pool's thread."""

    def on_success(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().on_success(*args, **kwargs)
        finally:
            slot_free.set()

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().on_failure(*args, **kwargs)
        finally:
            slot_free.set()


class WakeupStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Register the pipe with the consumer's event loop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        if consumer.hub is not None:
            consumer.hub.add_reader(slot_free.fileno(), slot_free.clear)
