"""The thread that keeps the leases of all attempts of a worker, and learns what the database knows of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models.functions import Now

from runs import transitions
from runs.forkserver.clock import lease_clock
from runs.models import Worker
from runs.states import AttemptKey
from runs.transitions import Renewed

logger = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Renews every `every_s`. After each success `kept(until)` is told how long the children may live without another.

    `until` is on the lease clock, reckoned from the moment before the renewal was sent and less `margin_s`: whatever
    happens to this process, the fork server ends the children by then, so that no other worker can start the run while
    one lives. `counts` are the columns of the worker's row that are written along.
    """

    def __init__(  # noqa: PLR0913  # what it tells and asks are four questions
        self,
        worker: Worker,
        *,
        lease_s: float,
        margin_s: float,
        every_s: float,
        mine: Callable[[], set[AttemptKey]],
        kept: Callable[[float], None],
        learned: Callable[[set[AttemptKey], dict[AttemptKey, Renewed]], None],
        counts: Callable[[], dict[str, int]] = dict,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._worker, self._lease_s, self._margin_s, self._every_s = worker, lease_s, margin_s, every_s
        self._mine, self._kept, self._learned, self._counts = mine, kept, learned, counts
        self._beating = threading.Lock()
        self._ending = threading.Event()
        self._sent_at = float("-inf")
        """When the last successful renewal was sent."""
        self._failing = False

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            try:
                close_old_connections()
                self.run_once()
            except Exception:  # whatever it is: without this thread all children are killed
                logger.exception("A heartbeat failed; the next one tries again")

    def run_once(self) -> bool:
        """Renew once; False if the database did not answer, which the next beat tries again."""
        return self._renew() is not None

    def _renew(self) -> dict[AttemptKey, Renewed] | None:
        with self._beating:
            attempts = self._mine()
            sent = lease_clock()
            try:
                renewed = transitions.renew(self._worker, attempts, lease_s=self._lease_s)
                Worker.objects.filter(pk=self._worker.pk).update(heartbeat_at=Now(), **self._counts())
            except (DatabaseError, InterfaceError) as error:
                if not self._failing:
                    logger.warning("Leases cannot be renewed: %s", str(error).strip())
                self._failing = True
                return None
            if self._failing:
                logger.warning("Leases are renewed again")
            self._failing, self._sent_at = False, sent
            self._kept(self.until)
        self._learned(attempts, renewed)
        return renewed

    @property
    def until(self) -> float:
        """Up to this moment of the lease clock every attempt that was this worker's at the last renewal still is."""
        return self._sent_at + self._lease_s - self._margin_s

    @property
    def holds(self) -> bool:
        """Whether this worker may still write for its attempts. False after it stood still for too long, until it has
        found out what is its own.
        """
        return lease_clock() < self.until

    @property
    def age_s(self) -> float:
        """Seconds since the last successful renewal."""
        return lease_clock() - self._sent_at

    def hold(self, key: AttemptKey) -> float | None:
        """Until when an attempt that was claimed a moment ago may be started; None if it is not this worker's any more,
        or if the database does not answer. A child must not start under a deadline that is about to pass, so the lease
        is renewed unless that was done of late.
        """
        if self.age_s < 2 * self._every_s:
            return self.until
        renewed = self._renew()
        return self.until if renewed is not None and key in renewed else None

    def end(self) -> None:
        self._ending.set()
