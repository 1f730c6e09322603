"""A child of the fork server, from the worker's request to the report of its exit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from runs.forkserver.spec import Exit, Fate

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class PendingChild:
    """Child between its request and its exit."""

    on_exit: Callable[[Exit], None]
    answered: threading.Event = field(default_factory=threading.Event)
    pid: int | None = None
    start: str = ""
    """Kind of its start, see `protocol.Spawned`."""
    refusal: str | None = None
    fate: Fate = Fate.NONE
    """External cause of a refusal."""

    def report(self, exit_: Exit) -> None:
        """Call `on_exit`. Log its failure: the thread that reads the server's answers must continue."""
        try:
            self.on_exit(exit_)
        except Exception:
            logger.exception("on_exit of child %s failed", self.pid)
