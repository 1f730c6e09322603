"""Timeline of a run as a bar: waiting, starting, running and stopping of each attempt. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from runs import formatting
from runs.models import Attempt, Run

WIDTH = 1000
KINDS = ("waiting", "starting", "running", "stopping")


@dataclass(frozen=True, slots=True)
class Span:
    kind: str
    x: str
    width: str
    """Length, of WIDTH."""
    words: str


@dataclass(frozen=True, slots=True)
class Timeline:
    spans: list[Span]
    totals: list[tuple[str, str]]
    """(kind, total duration in all attempts), without empty ones."""
    width: int = WIDTH

    @property
    def label(self) -> str:
        return ", ".join(f"{kind} {took}" for kind, took in self.totals)


def timeline(run: Run, attempts: Sequence[Attempt]) -> Timeline | None:
    """Build the timeline; None until the run has finished."""
    if run.finished_at is None or run.finished_at <= run.created_at:
        return None
    whole_s = (run.finished_at - run.created_at).total_seconds()
    spans: list[Span] = []
    totals: dict[str, float] = {}
    for number, kind, start, end in _stretches(run, attempts, run.finished_at):
        took_s = (end - start).total_seconds()
        if took_s <= 0:
            continue
        totals[kind] = totals.get(kind, 0.0) + took_s
        left = (start - run.created_at).total_seconds() / whole_s * WIDTH
        words = f"attempt {number}: {kind} for {formatting.duration(took_s)}"
        spans.append(Span(kind, f"{left:.1f}", f"{took_s / whole_s * WIDTH:.1f}", words))
    return Timeline(spans, [(kind, formatting.duration(totals[kind])) for kind in KINDS if kind in totals])


def _stretches(
    run: Run, attempts: Sequence[Attempt], finished_at: datetime
) -> Iterator[tuple[int, str, datetime, datetime]]:
    """Yield (attempt, kind, start, end), each starting at the end of the one before."""
    at = run.created_at
    for attempt in attempts:
        end = attempt.finished_at or finished_at
        began = min(attempt.started_at or end, end)
        stop = min(_stop_requested_at(run, attempt) or end, end)
        yield attempt.number, "waiting", at, attempt.claimed_at
        yield attempt.number, "starting", attempt.claimed_at, began
        yield attempt.number, "running", began, max(began, stop)
        yield attempt.number, "stopping", max(began, stop), end
        at = end
    yield len(attempts) + 1, "waiting", at, finished_at


def _stop_requested_at(run: Run, attempt: Attempt) -> datetime | None:
    """Return the first moment at which the attempt was requested to stop."""
    requested = run.cancel_requested_at
    requested = requested if requested and requested >= attempt.claimed_at else None
    moments = (requested, attempt.cancel_seen_at, attempt.interrupted_at, attempt.terminated_at, attempt.killed_at)
    return min((moment for moment in moments if moment), default=None)
