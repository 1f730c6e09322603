"""Run the same script in a terminal and as a run."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from runs.forkserver.client import ForkServer
from tests.integration.spawning import Heard, run, spec


def in_a_terminal(path: Path) -> list[str]:
    """Return the lines that a terminal shows for a script."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    os.close(theirs)
    data = b""
    with suppress(OSError):  # EIO: nobody has the other end any more
        while chunk := os.read(ours, 1 << 16):
            data += chunk
    os.close(ours)
    process.wait(30)
    lines = data.decode(errors="backslashreplace").replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def as_a_run(server: ForkServer, path: Path) -> Heard:
    return run(server, spec(path.parent, "script", path=str(path)))


def lines_of(heard: Heard) -> list[str]:
    """Return all lines that a run printed or logged."""
    lines = [part for line in heard.lines() for part in line.split("\n")]
    for raw in heard.raw.values():
        lines += raw.decode(errors="backslashreplace").splitlines()
    return lines
