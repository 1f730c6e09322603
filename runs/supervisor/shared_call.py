"""One slow function, called once for all threads that ask for its result at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Thread-safe. A caller never gets the result of a call that had begun before it asked."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._changed = threading.Condition()
        self._begun = self._ended = 0
        self._result: T | None = None

    def __call__(self) -> T:
        """Return the function's result. The first of the waiting threads calls it; raises what the function raises."""
        with self._changed:
            needed = self._begun + 1
            self._changed.wait_for(lambda: self._ended >= needed or self._ended == self._begun)
            if self._ended >= needed:
                return self._result  # type: ignore[return-value]  # set by the thread that has called the function
            self._begun += 1
        try:
            result = self._function()
        except BaseException:
            with self._changed:
                self._begun -= 1  # the next thread in line calls it instead
                self._changed.notify_all()
            raise
        with self._changed:
            self._ended, self._result = self._begun, result
            self._changed.notify_all()
        return result
