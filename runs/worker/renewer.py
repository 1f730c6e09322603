"""`python -m runs.worker.renewer REQUESTS-FD DEADLINES-FD WORKER-PID`: renew the leases of a worker's attempts.

A separate process, so that neither the interpreter lock of a busy worker nor threads that wait for the database delay a
renewal. It reads the supervised attempts from one board, and publishes the deadlines of their children on another; the
fork server enforces these. It does not renew for a worker that has ended, is stopped, or has shown no sign of life for
`worker_silent_s`. It does not load Django. It may be killed at any time: the worker starts another, which continues
from the boards.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.forkserver import prctl
from runs.forkserver.board import Board
from runs.forkserver.clock import lease_clock
from runs.worker.lease_store import Key, LeaseStore, Request, Unavailable, connect

logger = logging.getLogger("runs.worker.renewer")

POLL_S, POLL_MAX_S = 0.05, 0.2
"""Shortest and longest pause between two checks of the clock and the worker."""
NICE = 5
"""Amount by which the renewer's nice value is below the worker's."""
RETRY_S = 0.2
"""Pause before the next try after a failed renewal."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Settings of runs.conf that the renewer needs, in seconds."""

    lease_s: float
    margin_s: float
    every_s: float
    silent_s: float


class Renewals:
    """Renew leases when they are due, and publish the deadlines. For one thread."""

    def __init__(
        self,
        requests: Board,
        deadlines: Board,
        store: LeaseStore,
        terms: Terms,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self._requests, self._deadlines, self._store, self._terms = requests, deadlines, store, terms
        self._is_stopped, self._clock = is_stopped, clock
        self._until: dict[str, float] = dict(deadlines.read().get("until", {}))
        self._due_at = float("-inf")
        self._trouble = ""

    def run_once(self) -> bool:
        """Renew if it is due. Return whether it was."""
        now = self._clock()
        if now < self._due_at:
            return False
        document = self._requests.read()
        if not document or self._is_silent(document, now):
            return False
        self._due_at = now + (self._terms.every_s if self._renew(document) else RETRY_S)
        return True

    def pause_s(self) -> float:
        """Return the seconds until the next call of `run_once`, which is not late for a renewal."""
        return min(max(self._due_at - self._clock(), POLL_S), POLL_MAX_S)

    def _is_silent(self, document: dict[str, Any], now: float) -> bool:
        """Return whether the worker may be unable to supervise its runs."""
        silent = now - document["alive_at"] > self._terms.silent_s
        trouble = f"the worker has shown no sign of life for {self._terms.silent_s:g} s" if silent else ""
        if silent or self._is_stopped():
            self._note(trouble or "the worker is stopped")
            return True
        return False

    def _renew(self, document: dict[str, Any]) -> bool:
        """Renew the leases. Return whether all of them were renewed."""
        attempts = [_key(name) for name in document["attempts"]]
        request = Request(document["worker"], attempts, self._terms.lease_s, document["counts"])
        try:
            renewal = self._store.renew(request, self._clock)
        except Unavailable as error:
            self._note(str(error))
            return False
        self._note("")
        until = renewal.at + self._terms.lease_s - self._terms.margin_s
        earlier = {name: self._until[name] for key in renewal.open if (name := _name(key)) in self._until}
        self._until = earlier | {_name(key): until for key in renewal.renewed}
        self._deadlines.publish({"at": renewal.at, "until": self._until})
        return renewal.renewed == renewal.open

    def _note(self, trouble: str) -> None:
        if trouble and not self._trouble:
            logger.warning("Cannot renew the leases: %s", trouble)
        if self._trouble and not trouble:
            logger.warning("Leases are renewed again")
        self._trouble = trouble


def _key(name: str) -> Key:
    run, number = name.split(".")
    return int(run), int(number)


def _name(key: Key) -> str:
    return f"{key[0]}.{key[1]}"


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal or a debugger. False if unknown."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def main(requests_fd: int, deadlines_fd: int, worker_pid: int) -> int:
    """Renew until the worker has ended. Reads its settings from standard input."""
    prctl.signal_at_parent_death(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(-NICE)  # if permitted
    settings = json.load(sys.stdin)
    logging.basicConfig(format=settings["log_format"], level=logging.INFO)
    renewals = Renewals(
        Board(requests_fd),
        Board(deadlines_fd),
        connect(settings["database"]),
        Terms(**settings["terms"]),
        is_stopped=lambda: is_stopped(worker_pid),
    )
    while os.getppid() == worker_pid:
        renewals.run_once()
        time.sleep(renewals.pause_s())
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
