"""Work of a probe: at each step it logs, saves a checkpoint, and records both in its journal."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from typing import Any

from pydantic import BaseModel, Field

from athanor.chaos.journal import Journal
from experiments.context import RunContext
from experiments.exceptions import RunCancelled

DAEMON_S = 900
"""Longest lifetime of a process that a probe leaves behind."""
METRIC = "step"


class ProbeConfig(BaseModel):
    steps: int = Field(20, ge=1, le=100_000)
    lines: int = Field(5, ge=0, le=1_000_000, description="Lines of each step")
    pause_s: float = Field(0.1, ge=0, le=60, description="After each step")
    sync_every: int = Field(3, ge=1, description="Steps from one synchronous checkpoint to the next")
    family: int = Field(0, ge=0, le=20, description="Daemons and sub-processes that it leaves behind")
    stubborn: bool = Field(False, description="Swallow the interrupt of a cancel, and ignore SIGTERM")


def advanced(digest: str, step: int) -> str:
    return hashlib.sha256(f"{digest}:{step}".encode()).hexdigest()[:16]


def expected(seed: int, steps: int) -> dict[str, Any]:
    """Return the summary of an undisturbed run. Pure."""
    digest = str(seed)
    for step in range(steps):
        digest = advanced(digest, step)
    return {"steps": steps, "digest": digest}


def message(number: int, step: int) -> str:
    """Return the `number`-th line of an attempt."""
    return f"line {number} of step {step}"


class Walk:
    """One execution of a probe, from its last checkpoint to its end."""

    def __init__(self, ctx: RunContext[ProbeConfig]) -> None:
        self._ctx, self._config = ctx, ctx.config
        state = ctx.restored or {"step": 0, "digest": str(ctx.seed)}
        self._first, self._digest = int(state["step"]), str(state["digest"])
        self._lines = 0
        self._journal = Journal(ctx.workdir, ctx.attempt)

    def go(self) -> dict[str, Any]:
        """Run all remaining steps and return the summary. Raises RunCancelled."""
        self._journal.begin(self._first)
        self._start_processes()
        for step in range(self._first, self._config.steps):
            self._log(step)
            self._digest = advanced(self._digest, step)
            self._keep(step)
            self._ctx.progress(step + 1, self._config.steps)
            self._pause()
        self._log_last_line()
        self._journal.mark("end")
        return {"steps": self._config.steps, "digest": self._digest}

    def _start_processes(self) -> None:
        for number in range(self._config.family):
            self._journal.spawned(daemon() if number % 2 else sub_process())
        if self._config.stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _log(self, step: int) -> None:
        done = step - self._first + 1
        numbers = range(self._lines + 1, self._lines + self._config.lines + 1)
        self._journal.mark("saying", lines=self._lines + len(numbers), results=done)
        if len(numbers) > 50:
            self._ctx.log_batch([message(number, step) for number in numbers])
        else:
            for number in numbers:
                self._ctx.log.info(message(number, step))
        self._lines += len(numbers)
        self._ctx.metric(METRIC, step, step=step)
        self._journal.mark("said", lines=self._lines, results=done)

    def _log_last_line(self) -> None:
        """Log one more line without a checkpoint after it."""
        done = self._config.steps - self._first
        self._journal.mark("saying", lines=self._lines + 1, results=done)
        self._lines += 1
        self._ctx.log.info(message(self._lines, self._config.steps))
        self._journal.mark("said", lines=self._lines, results=done)

    def _keep(self, step: int) -> None:
        is_last = step + 1 == self._config.steps
        sync = is_last or (step + 1) % self._config.sync_every == 0
        self._ctx.checkpoint({"step": step + 1, "digest": self._digest}, sync=sync)
        if sync:
            self._journal.mark("kept", step=step + 1)

    def _pause(self) -> None:
        if not self._config.stubborn:
            self._ctx.sleep(self._config.pause_s)
            return
        try:
            time.sleep(self._config.pause_s)
        except RunCancelled:
            self._journal.mark("swallowed")


def sub_process() -> int:
    """Start a program in its own session; return its pid."""
    return subprocess.Popen(["sleep", str(DAEMON_S)], start_new_session=True).pid  # noqa: S603, S607  # from PATH


def daemon() -> int:
    """Start a twice-forked process that has its own session and ignores SIGTERM; return its pid."""
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if pid := os.fork():
            os.write(write_end, str(pid).encode())
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(DAEMON_S)
        os._exit(0)
    os.close(write_end)
    os.waitpid(middle, 0)
    pid = int(os.read(read_end, 32))
    os.close(read_end)
    return pid
