"""Thread that polls the database for changes to this worker's attempts: cancels, takeovers, stored lines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, close_old_connections

from runs import transitions
from runs.models import Worker
from runs.states import AttemptKey
from runs.transitions import AttemptState

logger = logging.getLogger(__name__)


class Poller(threading.Thread):
    """Read the state of the attempts every `every_s`. Writes nothing, and no renewal of a lease depends on it."""

    def __init__(
        self,
        worker: Worker,
        *,
        every_s: float,
        keys: Callable[[], set[AttemptKey]],
        on_states: Callable[[set[AttemptKey], dict[AttemptKey, AttemptState]], None],
    ) -> None:
        super().__init__(name="poller", daemon=True)
        self._worker, self._every_s, self._keys, self._on_states = worker, every_s, keys, on_states
        self._ending = threading.Event()
        self._is_failing = False

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            try:
                close_old_connections()
                self.run_once()
            except Exception:  # any: without this thread a takeover is not noticed
                logger.exception("Cannot read the state of the attempts; trying again")

    def run_once(self) -> bool:
        """Read once. False if the database is unavailable."""
        keys = self._keys()
        try:
            states = transitions.attempt_states(self._worker, keys)
        except (DatabaseError, InterfaceError) as error:
            if not self._is_failing:
                logger.warning("The database is unavailable: %s", str(error).strip())
            self._is_failing = True
            return False
        self._is_failing = False
        self._on_states(keys, states)
        return True

    def end(self) -> None:
        self._ending.set()
