"""Leases from the worker's side: publish the supervised attempts to the renewer, and read until when each lease lasts.

A separate process, `runs.worker.renewer`, renews the leases. No call here waits for the database.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import connection

import runs
from runs.conf import RunsSettings
from runs.forkserver.board import Board
from runs.forkserver.clock import lease_clock
from runs.states import AttemptKey

logger = logging.getLogger(__name__)

PROJECT = Path(runs.__file__).resolve().parent.parent
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
START_LEFT_S = 1.0
"""Shortest remaining time of a lease with which a child is started."""
POLL_S = 0.05


class Heartbeat(threading.Thread):
    """Publish a sign of life every `heartbeat_s`, and restart the renewer if it has ended.

    The deadline of an attempt is on the lease clock: the time before the claim or renewal was sent, plus `lease_s`,
    minus `lease_margin_s`. The fork server kills the child by then, even if this process fails.
    """

    def __init__(
        self, worker_id: int, deadlines: Board, conf: RunsSettings, counts: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._worker_id, self._deadlines, self._conf, self._counts = worker_id, deadlines, conf, counts
        self._requests = Board.create()
        self._claimed: dict[AttemptKey, float] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._renewer: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start the renewals. The parent-death signal requires that the calling thread lives as long as the worker."""
        self._publish()
        self._start_renewer()
        self.start()

    def run(self) -> None:
        while not self._ending.wait(self._conf.heartbeat_s):
            try:
                self.run_once()
            except Exception:  # any: without this thread the leases are not renewed
                logger.exception("A heartbeat failed; the next one tries again")

    def run_once(self) -> None:
        """Publish a sign of life, and restart the renewer if it has ended."""
        self._publish()
        if self._renewer is not None and self._renewer.poll() is not None:
            logger.warning("The renewer ended with status %s; starting another", self._renewer.returncode)
            self._start_renewer()

    # Attempts

    def add(self, key: AttemptKey, claimed_at: float) -> None:
        """Renew the lease of an attempt from now on. `claimed_at` is the time before its claim was sent."""
        with self._lock:
            self._claimed[key] = claimed_at + self._conf.lease_s - self._conf.lease_margin_s
        self._publish()

    def remove(self, key: AttemptKey) -> None:
        with self._lock:
            self._claimed.pop(key, None)
        self._publish()

    # Deadlines

    def until(self, key: AttemptKey) -> float:
        """Return the time of the lease clock until which this worker certainly holds the lease of an attempt."""
        renewed: float = self._deadlines.read().get("until", {}).get(str(key), float("-inf"))
        return max(renewed, self._claimed.get(key, float("-inf")))

    def holds(self, key: AttemptKey) -> bool:
        """Return whether this worker holds the lease of an attempt. False after a freeze, until the next renewal."""
        return lease_clock() < self.until(key)

    def start_before(self, key: AttemptKey) -> float | None:
        """Return the deadline for the start of an attempt's child; None if its lease cannot be renewed.

        Waits for a renewal only if the lease expires soon.
        """
        deadline = time.monotonic() + self._conf.lease_s
        while self.until(key) < lease_clock() + START_LEFT_S:
            if time.monotonic() > deadline or self._ending.wait(POLL_S):
                return None
        return self.until(key)

    @property
    def age_s(self) -> float:
        """Seconds since the last successful renewal."""
        return lease_clock() - float(self._deadlines.read().get("at", float("-inf")))

    @property
    def is_late(self) -> bool:
        """True if renewals take so long that this worker should not claim more runs."""
        return self.age_s > max(2 * self._conf.heartbeat_s, (self._conf.lease_s - self._conf.lease_margin_s) / 2)

    def end(self) -> None:
        self._ending.set()
        if self._renewer is not None:
            self._renewer.kill()
            self._renewer.wait()

    # The renewer

    def _publish(self) -> None:
        with self._lock:
            self._requests.publish(
                {
                    "worker": self._worker_id,
                    "attempts": [str(key) for key in self._claimed],
                    "counts": self._counts(),
                    "alive_at": lease_clock(),
                }
            )

    def _start_renewer(self) -> None:
        boards = (self._requests.fd, self._deadlines.fd)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        command = [sys.executable, *flags, "-P", "-m", "runs.worker.renewer", *map(str, boards), str(os.getpid())]
        python_path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._renewer = subprocess.Popen(  # noqa: S603  # our own program
            command,
            pass_fds=boards,
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path},
            start_new_session=True,
        )
        if (stdin := self._renewer.stdin) is not None:
            with suppress(BrokenPipeError), stdin:  # broken if it has ended: the next heartbeat logs it
                stdin.write(json.dumps(self._renewer_settings()).encode())

    def _renewer_settings(self) -> dict[str, Any]:
        """Return the settings of the renewer. It reads them from standard input, since they may contain a password."""
        settings = connection.settings_dict
        database = {key: settings[key] for key in ("ENGINE", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")}
        conf = self._conf
        return {
            "database": {**database, "NAME": str(settings["NAME"])},
            "terms": {
                "lease_s": conf.lease_s,
                "margin_s": conf.lease_margin_s,
                "every_s": conf.heartbeat_s,
                "silent_s": conf.worker_silent_s,
            },
            "log_format": LOG_FORMAT,
        }
