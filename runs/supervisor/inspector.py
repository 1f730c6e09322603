"""Inspections of a live child: the stacks of its threads and its process tree.

Each runs in its own thread, since the child may be slow to respond; the watch loop does not wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from runs.forkserver.client import Child
from runs.inspections import Inspection
from runs.outcomes import ProcessRow
from runs.recovery.failure_report import stacks_after
from runs.supervisor.resources import process_rows

logger = logging.getLogger(__name__)

ANSWER_S = 2.0
"""Longest wait for the stacks. A stopped or swapped-out child does not write them."""
SETTLED_S = 0.03
"""Time without growth after which the file of stacks is complete."""


class Inspector:
    """Inspect one child. `on_inspection` is called with each inspection, in its thread."""

    def __init__(self, child: Child, emitted: Callable[[], int], on_inspection: Callable[[Inspection], None]) -> None:
        self._child, self._emitted, self._on_inspection = child, emitted, on_inspection
        self._busy = threading.Lock()
        self.processes: list[ProcessRow] = []
        """Process tree at the last inspection."""

    def ask(self, why: str) -> None:
        """Start an inspection, unless one is under way."""
        if self._busy.acquire(blocking=False):
            threading.Thread(target=self._inspect, args=(why,), name="inspector", daemon=True).start()

    def _inspect(self, why: str) -> None:
        try:
            self._on_inspection(self.inspect(why))
        except Exception:
            logger.exception("Cannot inspect the child with pid %d", self._child.pid)
        finally:
            self._busy.release()

    def inspect(self, why: str) -> Inspection:
        """Inspect the child. Blocks until the child has written its stacks, at most ANSWER_S."""
        before = self._child.request_stacks()
        self.processes = process_rows(self._child.pid)
        _wait_for_growth(self._child.stacks_path, before)
        return {
            "at": datetime.now(UTC).isoformat(),
            "why": why,
            "stacks": stacks_after(self._child.stacks_path, before),
            "processes": self.processes,
            "lines_emitted": self._emitted(),
        }


def _wait_for_growth(path: Path, before: int) -> None:
    """Wait until the file is larger than `before` and no longer grows."""
    deadline, size, grown_at = time.monotonic() + ANSWER_S, before, None
    pause = threading.Event()
    while (now := time.monotonic()) < deadline and (grown_at is None or now - grown_at < SETTLED_S):
        pause.wait(SETTLED_S / 3)
        try:
            current = path.stat().st_size
        except OSError:
            continue
        if current > size:
            size, grown_at = current, time.monotonic()
