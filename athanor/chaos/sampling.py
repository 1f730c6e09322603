"""Samples during a campaign: ends of runs, and the last seq that Redis had of each stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runs.lines.buffer import Stream
from runs.models import Run
from runs.states import AttemptKey, Status


class RunState(NamedTuple):
    """State of a run in the database at one time."""

    status: str
    failure_kind: str
    finished_at: Any
    attempt: int
    summary: Any
    error: str


def state_of(run: Run) -> RunState:
    return RunState(run.status, run.failure_kind, run.finished_at, run.attempt, run.summary, run.error)


@dataclass(slots=True)
class Samples:
    """Samples of all rounds. Thread-safe."""

    rounds: int = 0
    ends: dict[int, RunState] = field(default_factory=dict)
    """Run → first sampled end."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Run → highest sampled attempt."""
    changes: list[str] = field(default_factory=list)
    """Ends that changed later, and attempt numbers that decreased."""
    disagreements: list[str] = field(default_factory=list)
    """Runs with a status that contradicted their attempts."""
    taken: dict[tuple[AttemptKey, Stream], int] = field(default_factory=dict)
    """Highest seq that Redis had of a stream, since the last fault that may lose data."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def observe(self, states: Mapping[int, RunState]) -> None:
        with self.lock:
            self.rounds += 1
            for run_id, now in states.items():
                self._observe(run_id, now)

    def compare(self, executed: Mapping[int, tuple[str, bool]]) -> None:
        """Check one snapshot: run → its status, and whether it has an open attempt."""
        with self.lock:
            for run_id, (status, is_executed) in executed.items():
                if is_executed != (status == Status.RUNNING):
                    have = "an attempt is open" if is_executed else "no attempt is open"
                    self.disagreements.append(f"run {run_id} was {status}, and {have}")

    def _observe(self, run_id: int, now: RunState) -> None:
        before = self.ends.get(run_id)
        if before is not None and before != now:
            self.changes.append(f"run {run_id} was {_text(before)}, and later {_text(now)}")
            self.ends[run_id] = now
        elif before is None and Status(now.status).is_final:
            self.ends[run_id] = now
        if now.attempt < self.attempts.get(run_id, 0):
            self.changes.append(f"run {run_id} went back from attempt {self.attempts[run_id]} to {now.attempt}")
        self.attempts[run_id] = max(now.attempt, self.attempts.get(run_id, 0))

    def take(self, read: Callable[[], Iterable[tuple[AttemptKey, Stream, int]]]) -> None:
        """Record the seqs that Redis has. It is not wiped meanwhile."""
        with self.lock:
            for key, stream, seq in read():
                self.taken[key, stream] = max(seq, self.taken.get((key, stream), 0))

    def forget(self, wipe: Callable[[], object]) -> None:
        """Call `wipe`, which may lose data of Redis, and drop the samples of what it had."""
        with self.lock:
            try:
                wipe()
            finally:
                self.taken.clear()


def _text(state: RunState) -> str:
    kind = f" ({state.failure_kind})" if state.failure_kind else ""
    return f"{state.status}{kind} by attempt {state.attempt}"
