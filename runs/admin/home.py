"""The home page: what goes on, what failed, who works, and what is unwell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from experiments import catalog
from runs import formatting, health
from runs.admin import permissions
from runs.admin.schedules.home import with_warnings
from runs.models import Run
from runs.recent_failures import Failure
from runs.states import FailureKind

admin.site.index_template = "runs/home.html"
admin.site.index_title = "Home"


@dataclass(frozen=True, slots=True)
class RunningView:
    run: Run
    width: str
    percent: str
    words: str
    remaining: str


@dataclass(frozen=True, slots=True)
class FailedView:
    run: Run
    why: str
    ago: str
    others: str
    """How many there are like it, which have no line of their own."""
    others_query: str
    """Of the list, which shows them."""


def context(request: HttpRequest, given: dict[str, Any]) -> dict[str, Any]:
    """Named in UNFOLD["DASHBOARD_CALLBACK"]."""
    told = with_warnings(request, given | (status(request) if permissions.may_view(request) else {}))
    if "well" in told and any(warning.is_of_beat for warning in told["health"]):
        told["well"].problems = [problem for problem in told["well"].problems if "beat" not in problem.what]
    return told


def status_view(request: HttpRequest) -> HttpResponse:
    """The part of the home page that changes, for one that is open."""
    permissions.must_view(request)
    return render(request, "runs/parts/home.html", context(request, {}))


def status(request: HttpRequest) -> dict[str, Any]:
    found = health.look()
    return {
        "well": found,
        "running": [running(run, found) for run in found.running],
        "failed": [failed(failure, found) for failure in found.failed.told],
        "failed_left_out": found.failed.left_out,
        "workers": [(worker, formatting.age(worker.heartbeat_at, found.now)) for worker in found.workers],
        "queues": [(queue, formatting.age(queue.oldest, found.now) if queue.oldest else "") for queue in found.queues],
        "beat": formatting.age(found.beat_at, found.now) if found.beat_at else "never",
        "lag": formatting.duration(found.backlog.lag_s) if found.backlog else "",
        "is_empty": not Run.objects.exists(),
        "experiments": catalog.current().names[:3],
        "may_launch": permissions.may_launch(request),
    }


def running(run: Run, found: health.Wellbeing) -> RunningView:
    fraction = formatting.fraction(run.progress_current, run.progress_total)
    return RunningView(
        run=run,
        width=f"{100 * (fraction or 0):.1f}",
        percent=formatting.percent(fraction),
        words=formatting.progress_words(run.progress_current, run.progress_total, run.progress_message),
        remaining=_remaining(run, found),
    )


def _remaining(run: Run, found: health.Wellbeing) -> str:
    """Time left, or else how long the run has been running."""
    if run.is_cancelling:
        return "cancelling…"
    start = found.progress_starts.get(run.pk)
    rate = formatting.rate(run.status, run.progress_current, start, run.progress_at or found.now)
    since = formatting.between(run.started_at or run.created_at, found.now) or 0.0
    left = formatting.time_left(rate, run.progress_current, run.progress_total)
    return left or f"running for {formatting.roughly(since)}"


def failed(failure: Failure, found: health.Wellbeing) -> FailedView:
    run = failure.run
    said = formatting.printable(run.error.strip())
    why = said or str(FailureKind(run.failure_kind).label)
    alike = {"status__exact": run.status, "experiment": run.experiment, "failure_kind__exact": run.failure_kind}
    return FailedView(
        run=run,
        why=why[:300],
        ago=formatting.age(run.finished_at, found.now),
        others=f"{failure.more:,}{'+' if failure.is_at_least else ''}" if failure.more else "",
        others_query=f"?{urlencode(alike)}",
    )
