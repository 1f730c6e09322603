"""A slow function is called once for all threads that ask while another call is under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from runs.supervisor.shared_call import SharedCall
from tests.waiting import wait_until


class Slow:
    """A function that takes until it is allowed to end; returns the number of its call."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = threading.Semaphore(0)

    def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        assert self.may_end.acquire(timeout=10)
        return number


def test_threads_that_ask_during_a_call_share_the_next_one() -> None:
    slow = Slow()
    shared = SharedCall(slow)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(shared)
        wait_until(lambda: slow.calls == 1, what="the first call")
        later = [pool.submit(shared) for _ in range(5)]
        wait_until(lambda: len(shared._changed._waiters) == 5, what="all to wait")  # type: ignore[attr-defined]
        slow.may_end.release(2)

        assert first.result(10) == 1
        assert {future.result(10) for future in later} == {2}
    assert slow.calls == 2


def test_one_that_asks_later_gets_a_new_call() -> None:
    calls = iter(range(3))
    shared = SharedCall(lambda: next(calls))

    assert [shared(), shared(), shared()] == [0, 1, 2]


def test_an_error_reaches_its_caller_alone() -> None:
    results: Iterator[int | Exception] = iter([ValueError("first"), 2])

    def function() -> int:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    shared = SharedCall(function)
    with pytest.raises(ValueError, match="first"):
        shared()
    assert shared() == 2
