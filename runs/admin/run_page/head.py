"""Head of a run's page: status, progress, the steps of a cancel, and the ways to launch the run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse
from django.utils import timezone

from runs import formatting
from runs.lines import ranges
from runs.models import Attempt, Run
from runs.serializers import facts_of, is_served, lines_count, total
from runs.services import Whereis, whereis
from runs.states import Status

AGAIN = {
    "Retry": "New run with the same configuration and seed. Resumes from the last checkpoint.",
    "Rerun": "New run with the same configuration and seed. Starts from scratch.",
    "Reproduce": "Same as Rerun; the results are then compared with those of this run.",
}


@dataclass(frozen=True, slots=True)
class CancelStep:
    """Step of a cancel, from the request to SIGKILL."""

    label: str
    at: datetime
    """Time at which it happened, or is due."""
    happened: bool


@dataclass(frozen=True, slots=True)
class Head:
    """Status with its reason, progress, and the steps of a cancel."""

    sentence: str
    error: str
    fraction: float | None
    width: str
    """Length of the progress bar, of 100."""
    percent: str
    words: str
    pace: str
    remaining: str
    lines: str
    is_complete: bool
    where: Whereis | None
    can_cancel: bool
    cancelling: list[CancelStep]


def head(run: Run, attempts: Sequence[Attempt]) -> Head:
    now = timezone.now()
    sentence = formatting.status_sentence(facts_of(run, is_served=is_served(run)), now)
    fraction = formatting.fraction(run.progress_current, run.progress_total)
    lines = total(map(lines_count, attempts))
    start = attempts[-1].progress_start if attempts else None
    rate = formatting.rate(run.status, run.progress_current, start, run.progress_at or now)
    return Head(
        sentence=sentence,
        error=formatting.error_beside(run.error, sentence),
        fraction=fraction,
        width=f"{100 * (fraction or 0):.1f}",
        percent=formatting.percent(fraction),
        words=formatting.progress_words(run.progress_current, run.progress_total, run.progress_message),
        pace=formatting.pace(rate),
        remaining=formatting.time_left(rate, run.progress_current, run.progress_total),
        lines=formatting.completeness(lines["stored"], lines["emitted"], is_final=run.is_final),
        is_complete=lines["emitted"] == lines["stored"],
        where=whereis(run.pk) if run.status == Status.RUNNING else None,
        can_cancel=not run.is_final and run.cancel_requested_at is None,
        cancelling=cancel_steps(run, attempts[-1] if attempts else None),
    )


@dataclass(frozen=True, slots=True)
class Again:
    """Way to launch a run again."""

    label: str
    explanation: str
    address: str
    is_link: bool = False
    """True if it opens a form; the others launch at once."""


def ways_to_launch_again(run: Run) -> list[Again]:
    """List the ways, the most likely one first."""
    ways = []
    if run.is_final:
        ways = [
            Again(label, explanation, reverse(f"admin:runs_run_{label.lower()}", args=[run.pk]))
            for label, explanation in AGAIN.items()
            if label != "Reproduce" or run.status == Status.COMPLETED
        ]
        ways.sort(key=lambda way: (way.label == "Retry") == (run.status == Status.COMPLETED))
    form = f"{reverse('admin:runs_run_launch')}?run={run.pk}"
    return [
        *ways,
        Again("Launch with changes", "Opens the launch form with the values of this run.", form, is_link=True),
    ]


def is_all_stored(attempts: Sequence[Attempt]) -> bool:
    """Return False while lines that an attempt emitted are still on their way to the database."""
    return all(
        attempt.lines_emitted is None or ranges.count(attempt.lines_stored) >= attempt.lines_emitted
        for attempt in attempts
    )


def cancel_steps(run: Run, attempt: Attempt | None) -> list[CancelStep]:
    """List the steps of a cancel in progress, each with the time at which it happened or is due."""
    requested_at = run.cancel_requested_at
    if run.status != Status.RUNNING or requested_at is None or attempt is None:
        return []
    limits = run.effective_limits()
    interrupt_at = attempt.interrupted_at or requested_at + timedelta(seconds=limits.interrupt_after_s)
    terminate_at = attempt.terminated_at or interrupt_at + timedelta(seconds=limits.cancel_grace_s)
    kill_at = attempt.killed_at or terminate_at + timedelta(seconds=limits.kill_grace_s)
    return [
        CancelStep("Cancel requested", requested_at, happened=True),
        CancelStep("Interrupt", interrupt_at, attempt.interrupted_at is not None),
        CancelStep("SIGTERM", terminate_at, attempt.terminated_at is not None),
        CancelStep("SIGKILL to all processes", kill_at, attempt.killed_at is not None),
    ]
