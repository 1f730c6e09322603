"""Looking closely at a child that lives: the stacks of its threads and its process tree. In a thread of its own, since
the child may take its time to answer; the watch loop waits for nothing.
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
from runs.supervisor.resources import look

logger = logging.getLogger(__name__)

ANSWER_S = 2.0
"""How long the child may take to write its stacks: a stopped or swapped-out one does not."""
SETTLED_S = 0.03
"""A file of stacks that has not grown for so long is complete."""


class Inspector:
    """Of one child. `found` is told each inspection, in the inspecting thread."""

    def __init__(self, child: Child, emitted: Callable[[], int], found: Callable[[Inspection], None]) -> None:
        self._child, self._emitted, self._found = child, emitted, found
        self._busy = threading.Lock()
        self.processes: list[ProcessRow] = []
        """The process tree as it was last seen."""

    def ask(self, why: str) -> None:
        """Begin an inspection, unless one is under way: its answer is as good."""
        if self._busy.acquire(blocking=False):
            threading.Thread(target=self._inspect, args=(why,), name="inspector", daemon=True).start()

    def _inspect(self, why: str) -> None:
        try:
            self._found(self.look(why))
        except Exception:
            logger.exception("The child with pid %d could not be inspected", self._child.pid)
        finally:
            self._busy.release()

    def look(self, why: str) -> Inspection:
        """One inspection; blocks until the child has written its stacks, at most ANSWER_S."""
        before = self._child.request_stacks()
        self.processes = look(self._child.pid)
        _wait_for_growth(self._child.stacks_path, before)
        return {
            "at": datetime.now(UTC).isoformat(),
            "why": why,
            "stacks": stacks_after(self._child.stacks_path, before),
            "processes": self.processes,
            "lines_emitted": self._emitted(),
        }


def _wait_for_growth(path: Path, before: int) -> None:
    """Until the file is larger than `before` and grows no more."""
    deadline, size, grown_at = time.monotonic() + ANSWER_S, before, None
    pause = threading.Event()
    while (now := time.monotonic()) < deadline and (grown_at is None or now - grown_at < SETTLED_S):
        pause.wait(SETTLED_S / 3)
        try:
            found = path.stat().st_size
        except OSError:
            continue
        if found > size:
            size, grown_at = found, time.monotonic()
