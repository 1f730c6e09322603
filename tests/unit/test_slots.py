"""Wake-up of the consumer at the end of a task, after Celery has released the slot."""

from __future__ import annotations

from collections.abc import Callable

from celery.concurrency.thread import TaskPool

from runs.worker.slots import wake_consumer
from tests.waiting import wait_until


class Hub:
    """An event loop that notes what wakes it."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()
        self._events.append("woken")


def test_the_consumer_is_woken_after_a_slot_is_released_whatever_the_task_did() -> None:
    events: list[str] = []
    pool = TaskPool(1)
    wake_consumer(pool, Hub(events))

    def fail() -> None:
        events.append("failed")
        raise ValueError

    for target in (lambda: events.append("done"), fail):
        pool.on_apply(target, (), {}, lambda _: events.append("released"), lambda *_: None)
    wait_until(lambda: events.count("woken") == 2, what="both tasks to wake the consumer")
    pool.on_stop()

    assert events == ["done", "released", "woken", "failed", "woken"]
