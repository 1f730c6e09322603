"""Slots of a worker: its consumer is woken when one becomes free.

While all slots are busy, the consumer asks the broker for no message, and its event loop sleeps for up to one second:
nothing in Celery's threads pool tells the loop that a task has ended.
"""

from __future__ import annotations

from typing import Any


def wake_consumer(pool: Any, hub: Any) -> None:
    """Have every task that ends in the threads pool wake the event loop `hub`, which may ask for a message again.

    It is called after Celery has released the slot, in the pool's thread. A second start of the consumer keeps the hub.
    """
    apply = pool.on_apply

    def on_apply(*args: Any, **options: Any) -> Any:
        result = apply(*args, **options)
        result.f.add_done_callback(lambda _: hub.call_soon(_do_nothing))
        return result

    pool.on_apply = on_apply


def _do_nothing() -> None:
    """Being called is enough."""
