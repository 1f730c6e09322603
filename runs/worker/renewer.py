"""`python -m runs.worker.renewer REQUESTS-FD DEADLINES-FD WORKER-PID`: renews the leases of one worker's attempts.

A process of its own, so that neither the interpreter lock of a busy worker nor its threads' waiting for the database
can hold up a renewal. It reads from one board which attempts the worker supervises, and writes on the other until when
the child of each may live; the fork server kills by that. Nothing is renewed for a worker that is gone, stopped, or has
shown no sign of life for `worker_silent_s`. It loads no Django. It may be killed at any moment: the worker starts
another, which goes on from the boards.
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

LOOK_EVERY_S = 0.05
"""Between two looks at the clock and the worker."""
NICE = 5
"""How much more of the processor the renewer may have than the worker."""
RETRY_S = 0.2
"""Between two tries for what could not be renewed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The numbers of runs.conf that matter here, in seconds."""

    lease_s: float
    margin_s: float
    every_s: float
    silent_s: float


class Renewals:
    """Decide what is due, renew it, tell it. One thread."""

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
        """Renew if it is time to; whether it did."""
        now = self._clock()
        if now < self._due_at:
            return False
        document = self._requests.read()
        if not document or self._is_silent(document, now):
            return False
        self._due_at = now + (self._terms.every_s if self._renew(document) else RETRY_S)
        return True

    def _is_silent(self, document: dict[str, Any], now: float) -> bool:
        """Whether the worker may be unable to look after its runs."""
        silent = now - document["alive_at"] > self._terms.silent_s
        trouble = f"the worker has shown no sign of life for {self._terms.silent_s:g} s" if silent else ""
        if silent or self._is_stopped():
            self._note(trouble or "the worker is stopped")
            return True
        return False

    def _renew(self, document: dict[str, Any]) -> bool:
        """Whether all was renewed."""
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
            logger.warning("Leases cannot be renewed: %s", trouble)
        if self._trouble and not trouble:
            logger.warning("Leases are renewed again")
        self._trouble = trouble


def _key(name: str) -> Key:
    run, number = name.split(".")
    return int(run), int(number)


def _name(key: Key) -> str:
    return f"{key[0]}.{key[1]}"


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger, where the system tells."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def main(requests_fd: int, deadlines_fd: int, worker_pid: int) -> int:
    """Renew until the worker is gone. What the database needs is read from standard input."""
    prctl.signal_at_parent_death(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(-NICE)  # where that is allowed
    about = json.load(sys.stdin)
    logging.basicConfig(format=about["log_format"], level=logging.INFO)
    renewals = Renewals(
        Board(requests_fd),
        Board(deadlines_fd),
        connect(about["database"]),
        Terms(**about["terms"]),
        is_stopped=lambda: is_stopped(worker_pid),
    )
    while os.getppid() == worker_pid:
        renewals.run_once()
        time.sleep(LOOK_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
