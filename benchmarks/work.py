"""User code that every contestant executes: Athanor's runs, and the jobs of the peers.

It needs the standard library only, since it is imported in the peers' own environments. Times are those of
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any


def line(number: int) -> str:
    """Return a log line of about 80 characters."""
    return f"epoch {number // 1000:4d} step {number:8d} loss={1 / (number + 1):.9f} lr=0.000300 tokens/s=123456"


def tell(box: str, **message: Any) -> None:
    """Send a message to the measuring process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps({"pid": os.getpid(), **message}).encode(), box)


def noop() -> int:
    return 1


def stamp(box: str, began: int | None = None) -> int:
    """Tell the time of the first line of user code."""
    tell(box, began=began or time.monotonic_ns())
    return 1


def brief(box: str, number: int, began: int | None = None) -> int:
    """Work for 20 ms, then tell the times of the first and the last line of user code."""
    began = began or time.monotonic_ns()
    time.sleep(0.02)
    tell(box, number=number, began=began, ended=time.monotonic_ns())
    return 1


def sleeper(box: str, seconds: float) -> int:
    tell(box)
    time.sleep(seconds)
    return 1


JOBS: dict[str, Callable[..., int]] = {job.__name__: job for job in (noop, stamp, brief, sleeper)}
TIMED = ("stamp", "brief")
"""Jobs that take the time of their first line as `began`."""
