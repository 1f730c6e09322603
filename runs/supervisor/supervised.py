"""Result of the Celery task of one attempt."""

from __future__ import annotations

from typing import TypedDict

from runs.outcomes import Outcome
from runs.states import AttemptKey
from runs.transitions import EndResult


class Supervised(TypedDict):
    """Attempt that the task supervised, and its end."""

    run: int
    attempt: int
    end: str
    """End of the attempt, see runs.states.AttemptEnd."""
    failure_kind: str
    then: str
    """State of the run after it, see runs.transitions.EndResult."""
    queue: str


def supervised(key: AttemptKey, outcome: Outcome, result: EndResult, queue: str) -> Supervised:
    return {
        "run": key.run_id,
        "attempt": key.number,
        "end": str(outcome.attempt_end),
        "failure_kind": outcome.failure_kind or "",
        "then": str(result),
        "queue": queue,
    }
