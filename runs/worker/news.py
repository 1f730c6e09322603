"""The thread that reads what others have done to this worker's attempts: cancels, takeovers, stored lines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, close_old_connections

from runs import transitions
from runs.models import Worker
from runs.states import AttemptKey
from runs.transitions import AttemptNews

logger = logging.getLogger(__name__)


class News(threading.Thread):
    """Reads every `every_s`, and passes on what it read. It writes nothing, and no renewal depends on it."""

    def __init__(
        self,
        worker: Worker,
        *,
        every_s: float,
        keys: Callable[[], set[AttemptKey]],
        learned: Callable[[set[AttemptKey], dict[AttemptKey, AttemptNews]], None],
    ) -> None:
        super().__init__(name="news", daemon=True)
        self._worker, self._every_s, self._keys, self._learned = worker, every_s, keys, learned
        self._ending = threading.Event()
        self._is_failing = False

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            try:
                close_old_connections()
                self.run_once()
            except Exception:  # whatever it is: without this thread nobody notices a takeover
                logger.exception("Cannot read the news of the runs; trying again")

    def run_once(self) -> bool:
        """Read once; False if the database did not answer."""
        keys = self._keys()
        try:
            news = transitions.news(self._worker, keys)
        except (DatabaseError, InterfaceError) as error:
            if not self._is_failing:
                logger.warning("The database does not answer: %s", str(error).strip())
            self._is_failing = True
            return False
        self._is_failing = False
        self._learned(keys, news)
        return True

    def end(self) -> None:
        self._ending.set()
