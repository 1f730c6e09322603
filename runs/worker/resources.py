"""Thread that measures the process trees of all runs of a worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psutil

from runs.supervisor.resources import Usage, measure

logger = logging.getLogger(__name__)


class ResourceSampler(threading.Thread):
    """Sample the process trees of `roots()` every `every_s`, and report the usage of each."""

    def __init__(self, roots: Callable[[], dict[int, Callable[[Usage], None]]], *, every_s: float) -> None:
        super().__init__(name="resources", daemon=True)
        self._roots, self._every_s = roots, every_s
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            self.run_once()

    def run_once(self) -> None:
        """Take one sample of every tree."""
        reports = self._roots()
        if not reports:
            return  # a measurement reads the table of all processes
        try:
            for pid, usage in measure(reports).items():
                reports[pid](usage)
        except (OSError, psutil.Error):
            logger.exception("Cannot measure the resources of the runs; trying again")

    def end(self) -> None:
        self._ending.set()
