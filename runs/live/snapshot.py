"""State of watched runs, as their pages show it beside the lines.

Four queries for all runs together, and one more for each run that waits for a worker without other runs.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Set
from dataclasses import dataclass

from django.db.models import Count
from django.utils import timezone

from runs import formatting
from runs.lines import ranges
from runs.lines.following import Seen
from runs.models import Artifact, Attempt, Run, Worker
from runs.serializers import facts_of, lines_count, total
from runs.states import Status


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of a run at one time."""

    final: bool
    state: str
    """JSON of the texts in the head of the page."""
    token: str
    """Changes with anything but the passing of time."""
    lines: Seen
    """Attempt → seq up to which its lines are stored without a gap."""
    results: Seen
    """Attempt → the same for results."""


def read_snapshots(run_ids: Collection[int]) -> dict[int, Snapshot]:
    """Read the state of those runs that exist, by id."""
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in Attempt.objects.filter(run_id__in=run_ids).defer("traceback", "provenance", "certificate"):
        attempts[attempt.run_id].append(attempt)
    counted = Artifact.objects.filter(run_id__in=run_ids).values_list("run_id").annotate(count=Count("pk"))
    artifacts = dict(counted.order_by())
    runs = list(Run.objects.filter(pk__in=run_ids).defer("configuration", "limits", "retries"))
    served = Worker.objects.served_queues() if any(run.status == Status.PENDING for run in runs) else set()
    return {run.pk: _snapshot(run, attempts[run.pk], artifacts.get(run.pk, 0), served) for run in runs}


def _snapshot(run: Run, attempts: list[Attempt], artifacts: int, served: Set[str]) -> Snapshot:
    state = _state(run, attempts, artifacts, served)
    return Snapshot(
        final=run.is_final,
        state=json.dumps(state),
        token=f"{state['parts']} {run.progress_current} {run.progress_message}",
        lines={attempt.number: ranges.high_water(attempt.lines_stored) for attempt in attempts},
        results={attempt.number: ranges.high_water(attempt.results_stored) for attempt in attempts},
    )


def _state(run: Run, attempts: list[Attempt], artifacts: int, served: Set[str]) -> dict[str, object]:
    now = timezone.now()
    fraction = formatting.fraction(run.progress_current, run.progress_total)
    newest = max(attempts, key=lambda attempt: attempt.number, default=None)
    start = newest.progress_start if newest else None
    rate = formatting.rate(run.status, run.progress_current, start, run.progress_at or now)
    lines = total(map(lines_count, attempts))
    return {
        "status": run.status,
        "sentence": formatting.status_sentence(facts_of(run, is_served=run.queue in served), now),
        "percent": formatting.percent(fraction),
        "width": None if fraction is None else round(100 * fraction, 1),
        "words": formatting.progress_words(run.progress_current, run.progress_total, run.progress_message),
        "pace": formatting.pace(rate),
        "remaining": formatting.time_left(rate, run.progress_current, run.progress_total),
        "lines": formatting.completeness(lines["stored"], lines["emitted"], is_final=run.is_final),
        "parts": _token(run, attempts, artifacts),
    }


def _token(run: Run, attempts: list[Attempt], artifacts: int) -> str:
    """Return a token that changes when an open page has to fetch its parts again."""
    moments = [
        (a.number, a.started_at, a.finished_at, a.cancel_seen_at, a.interrupted_at, a.terminated_at, a.killed_at,
         a.gone_at, bool(a.inspection and a.inspection.get("at")))
        for a in attempts
    ]  # fmt: skip
    state = (run.status, run.cancel_requested_at, artifacts, run.progress_total, sorted(moments, key=lambda m: m[0]))
    return hashlib.sha256(repr(state).encode()).hexdigest()[:12]
