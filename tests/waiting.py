"""Waiting for effects in other processes: the only place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], *, timeout_s: float = 10.0, what: str = "", every_s: float = 0.02) -> T:
    """Return the first true value of `predicate`, which is polled; fail with the awaited `what` on time-out."""
    deadline = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {timeout_s:g} s in vain for {what or getattr(predicate, '__name__', predicate)}"
            )
        time.sleep(every_s)
    return value
