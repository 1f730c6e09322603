"""Group of processes: started in order, restarted when they die, stopped in reverse order.

It writes its state to a file at each change. After a crash of the group itself, the kernel or the next group
(`athanor.up.status.kill_orphans`) ends its processes. Nothing is lost: each of them may be killed at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from athanor.up.process import Process, Role, State, last_lines, rotate_log
from athanor.up.signals import Signals

TICK_S = 0.1
"""Polling interval while processes start or stop."""
IDLE_TICK_S = 5.0
"""Polling interval otherwise. The death of a process wakes the group at once."""
READY_TIMEOUT_S = 90.0


class StartFailed(Exception):
    """Raised if a process of the group did not start. The message has its name, how it ended, and its log."""


class Group:
    """Supervise processes. Call all methods from the main thread, inside `with Signals()`."""

    def __init__(
        self,
        roles: Sequence[Role],
        logs: Path,
        signals: Signals,
        *,
        echo: Callable[[str], None],
        publish: Callable[[Sequence[Process]], None] = lambda _: None,
    ) -> None:
        self.processes = [Process(role, logs / f"{role.name}.log") for role in roles]
        self._signals = signals
        self._echo = echo
        self._publish = publish

    @property
    def stop_requested(self) -> bool:
        return self._signals.stops > 0

    def fork_no_more(self) -> None:
        """Start processes by their commands from now on, since this process will open files that no fork may share."""
        for process in self.processes:
            process.may_fork = False

    def start(self) -> bool:
        """Start everything and wait until it is ready; return False if a stop was requested. Raises StartFailed."""
        for _, rank in _ranks(self.processes):
            for process in rank:
                process.spawn()
                self._publish(self.processes)
            if any(process.role.gate for process in rank) and not self._wait_ready(rank):
                return False
        return self._wait_ready(self.processes)

    def _wait_ready(self, processes: Sequence[Process]) -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while waiting := [process for process in processes if not self._is_ready(process)]:
            if self.stop_requested:
                return False
            for process in waiting:
                if not process.is_alive:
                    raise StartFailed(_failure_message(process, process.end()))
                if time.monotonic() > deadline:
                    raise StartFailed(_failure_message(process, f"was not ready within {READY_TIMEOUT_S:g} s"))
            self._signals.wait(TICK_S)
        return True

    def _is_ready(self, process: Process) -> bool:
        if process.state is State.STARTING and process.is_alive and process.role.ready():
            process.enter(State.RUNNING)
            self._publish(self.processes)
        return process.state is State.RUNNING

    def run(self) -> None:
        """Keep everything running until a stop is requested."""
        while not self.stop_requested:
            self.run_once()

    def run_once(self) -> None:
        """Check each process, then sleep until the next signal or restart."""
        for process in self.processes:
            self._check(process)
        self._signals.wait(self._pause_s())

    def _check(self, process: Process) -> None:
        if process.state is State.RESTARTING:
            if time.monotonic() >= process.due:
                process.restart()
                self._publish(self.processes)
        elif not process.is_alive:
            self._restart_later(process)
        else:
            self._is_ready(process)
            rotate_log(process.log_file)

    def _restart_later(self, process: Process) -> None:
        end = process.end()
        wait_s = process.schedule_restart()
        when = f"in {wait_s:g} s" if wait_s else "now"
        self._echo(f"{process.role.name} {end}. Restarting {when}. Log: {process.log_file}")
        self._publish(self.processes)

    def _pause_s(self) -> float:
        if any(process.state is State.STARTING for process in self.processes):
            return TICK_S
        now = time.monotonic()
        dues = [process.due - now for process in self.processes if process.state is State.RESTARTING]
        return max(0.0, min([IDLE_TICK_S, *dues]))

    def stop(self) -> None:
        """Stop everything, the highest rank first. A second stop request kills at once."""
        for _, rank in reversed(_ranks(self.processes)):
            for process in rank:
                process.terminate()
            self._publish(self.processes)
            self._wait_until_ended(rank)
            for process in rank:
                process.reap()
                if process.state is State.KILLED:
                    self._echo(f"{process.role.name} did not stop in time and was killed. Log: {process.log_file}")
            self._publish(self.processes)

    def _wait_until_ended(self, rank: Sequence[Process]) -> None:
        started = time.monotonic()
        while alive := [process for process in rank if process.is_alive]:
            waited_s = time.monotonic() - started
            for process in alive:
                if waited_s > self._timeout_s(process.role):
                    process.kill()
            self._signals.wait(TICK_S)

    def _timeout_s(self, role: Role) -> float:
        """Seconds between SIGTERM and SIGKILL. Redis always gets some time, to write its data."""
        if self._signals.stops < 2:
            return role.stop_timeout_s
        return 0.0 if role.rank else min(role.stop_timeout_s, 3.0)


def _ranks(processes: Iterable[Process]) -> list[tuple[int, list[Process]]]:
    """Group processes by rank, in ascending order."""
    by_rank = sorted(processes, key=lambda process: process.role.rank)
    return [(rank, list(members)) for rank, members in groupby(by_rank, key=lambda process: process.role.rank)]


def _failure_message(process: Process, what: str) -> str:
    tail = "".join(f"\n  {line}" for line in last_lines(process.log_file))
    return f"{process.role.name} {what}. Last lines of its log {process.log_file}:{tail}"
