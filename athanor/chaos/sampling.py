"""What is seen while chaos is at work: ends that were told, and how far Redis had taken what runs said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runs.lines.buffer import Stream
from runs.models import Run
from runs.states import AttemptKey, Status


class Told(NamedTuple):
    """What the database said of a run at one moment."""

    status: str
    failure_kind: str
    finished_at: Any
    attempt: int
    summary: Any
    error: str


def told_by(run: Run) -> Told:
    return Told(run.status, run.failure_kind, run.finished_at, run.attempt, run.summary, run.error)


@dataclass(slots=True)
class Samples:
    """Thread-safe."""

    rounds: int = 0
    ends: dict[int, Told] = field(default_factory=dict)
    """Run → the first end that was seen."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Run → the highest attempt that was seen."""
    changes: list[str] = field(default_factory=list)
    """Ends that were other ends later, and attempts that were counted down."""
    disagreements: list[str] = field(default_factory=list)
    """Runs whose status and attempts did not say the same."""
    taken: dict[tuple[AttemptKey, Stream], int] = field(default_factory=dict)
    """How far Redis had taken a stream, since it may last have forgotten anything."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def observe(self, told: Mapping[int, Told]) -> None:
        with self.lock:
            self.rounds += 1
            for run_id, now in told.items():
                self._observe(run_id, now)

    def compare(self, executed: Mapping[int, tuple[str, bool]]) -> None:
        """Run → its status, and whether an attempt of it is open: one snapshot."""
        with self.lock:
            for run_id, (said, is_executed) in executed.items():
                if is_executed != (said == Status.RUNNING):
                    have = "an attempt is open" if is_executed else "no attempt is open"
                    self.disagreements.append(f"run {run_id} was {said}, and {have}")

    def _observe(self, run_id: int, now: Told) -> None:
        before = self.ends.get(run_id)
        if before is not None and before != now:
            self.changes.append(f"run {run_id} was {_shown(before)}, and later {_shown(now)}")
            self.ends[run_id] = now
        elif before is None and Status(now.status).is_final:
            self.ends[run_id] = now
        if now.attempt < self.attempts.get(run_id, 0):
            self.changes.append(f"run {run_id} went back from attempt {self.attempts[run_id]} to {now.attempt}")
        self.attempts[run_id] = max(now.attempt, self.attempts.get(run_id, 0))

    def take(self, read: Callable[[], Iterable[tuple[AttemptKey, Stream, int]]]) -> None:
        """Note what Redis says it has; it is not wiped meanwhile."""
        with self.lock:
            for key, stream, seq in read():
                self.taken[key, stream] = max(seq, self.taken.get((key, stream), 0))

    def forget(self, wipe: Callable[[], object]) -> None:
        """Do what may make Redis forget; what it had before is no longer its duty."""
        with self.lock:
            try:
                wipe()
            finally:
                self.taken.clear()


def _shown(told: Told) -> str:
    kind = f" ({told.failure_kind})" if told.failure_kind else ""
    return f"{told.status}{kind} by attempt {told.attempt}"
