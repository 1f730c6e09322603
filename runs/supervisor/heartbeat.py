"""The thread that keeps the leases of all attempts of a worker, and learns what the database knows of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections
from django.db.models.functions import Now

from runs import transitions
from runs.models import Worker
from runs.states import AttemptKey
from runs.supervisor.clock import lease_clock
from runs.transitions import Renewed

logger = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Renews every `every_s`. After each success `kept(until)` is told how long the children may live without another.

    `until` is on the lease clock, reckoned from the moment before the renewal was sent and less `margin_s`: whatever
    happens to this process, the fork server ends the children by then, so that no other worker can start the run while
    one lives.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        lease_s: float,
        margin_s: float,
        every_s: float,
        mine: Callable[[], set[AttemptKey]],
        kept: Callable[[float], None],
        learned: Callable[[set[AttemptKey], dict[AttemptKey, Renewed]], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._worker, self._lease_s, self._margin_s, self._every_s = worker, lease_s, margin_s, every_s
        self._mine, self._kept, self._learned = mine, kept, learned
        self._beating = threading.Lock()
        self._ending = threading.Event()
        self._fresh_at = float("-inf")
        self._failing = False

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            close_old_connections()
            self.run_once()

    def run_once(self) -> bool:
        """Renew once; False if the database did not answer, which the next beat tries again."""
        with self._beating:
            attempts = self._mine()
            sent = lease_clock()
            try:
                renewed = transitions.renew(self._worker, lease_s=self._lease_s)
                Worker.objects.filter(pk=self._worker.pk).update(heartbeat_at=Now())
            except DatabaseError as error:
                if not self._failing:
                    logger.warning("Leases cannot be renewed: %s", str(error).strip())
                self._failing = True
                return False
            if self._failing:
                logger.warning("Leases are renewed again")
            self._failing, self._fresh_at = False, sent
            self._kept(sent + self._lease_s - self._margin_s)
        self._learned(attempts, renewed)
        return True

    def ensure_fresh(self) -> bool:
        """Renew now unless that was done of late: a child must not start under a deadline that is about to pass."""
        return lease_clock() - self._fresh_at < 2 * self._every_s or self.run_once()

    def end(self) -> None:
        self._ending.set()
