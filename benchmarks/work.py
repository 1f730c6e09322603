"""User code that every contestant executes: Athanor's runs, and the jobs of the peers.

It needs the standard library only, since it is imported in the peers' own environments. Times are those of
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
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


def print_lines(count: int) -> tuple[int, int]:
    """Print lines; return the times of the loop's begin and end."""
    began = time.monotonic_ns()
    for number in range(count):
        print(line(number))
    return began, time.monotonic_ns()


def logging_lines(count: int) -> tuple[int, int]:
    """Do the same with `logging`."""
    log = logging.getLogger("measured")
    log.setLevel(logging.INFO)
    began = time.monotonic_ns()
    for number in range(count):
        log.info("epoch done loss=%s step=%d", 1 / (number + 1), number)
    return began, time.monotonic_ns()


WAYS = {"print": print_lines, "logging": logging_lines}


def main() -> None:
    """`python -m benchmarks.work WAY COUNT BOX FILE`: the same to a file, without Athanor."""
    way, count, box, path = sys.argv[1:]
    with Path(path).open("w") as file, contextlib.redirect_stdout(file):
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.getLogger().addHandler(handler)
        began, ended = WAYS[way](int(count))
    tell(box, began=began, ended=ended)


if __name__ == "__main__":
    main()
