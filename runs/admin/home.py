"""Home page: running runs, recent failures, workers, queues, and problems."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
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
    """Number of failures like it that are not listed."""
    others_query: str
    """Query string of the list of runs that shows them."""


def context(request: HttpRequest, given: dict[str, Any]) -> dict[str, Any]:
    """Extend the context of Django's index page. Named in UNFOLD["DASHBOARD_CALLBACK"]."""
    page = with_warnings(request, given | (status(request) if permissions.may_view(request) else {}))
    if "well" in page and any(warning.is_of_beat for warning in page["health"]):
        page["well"].problems = [problem for problem in page["well"].problems if "beat" not in problem.what]
    return page


def status_view(request: HttpRequest) -> HttpResponse:
    """Answer an open home page with its part that changes."""
    permissions.must_view(request)
    return render(request, "runs/parts/home.html", context(request, {}))


def status(request: HttpRequest) -> dict[str, Any]:
    system = health.read(request.user)
    now = system.now
    return {
        "well": system,
        "running": [running(run, system) for run in system.running],
        "failed": [failed(failure, now) for failure in system.failed.shown],
        "failed_left_out": system.failed.left_out,
        "workers": [(worker, formatting.age(worker.heartbeat_at, now)) for worker in system.workers],
        "queues": [(queue, formatting.age(queue.oldest, now) if queue.oldest else "") for queue in system.queues],
        "beat": formatting.age(system.beat_at, now) if system.beat_at else "never",
        "lag": formatting.duration(system.backlog.lag_s) if system.backlog else "",
        "is_empty": not Run.objects.visible_to(request.user).exists(),
        "experiments": [e.name for e in catalog.current().all() if permissions.may_launch_freely(request, e)][:3],
        "may_launch": permissions.may_launch(request),
    }


def running(run: Run, system: health.SystemHealth) -> RunningView:
    fraction = formatting.fraction(run.progress_current, run.progress_total)
    return RunningView(
        run=run,
        width=f"{100 * (fraction or 0):.1f}",
        percent=formatting.percent(fraction),
        words=formatting.progress_words(run.progress_current, run.progress_total, run.progress_message),
        remaining=_remaining(run, system),
    )


def _remaining(run: Run, system: health.SystemHealth) -> str:
    """Time left, or the time since the start while the time left is unknown."""
    if run.is_cancelling:
        return "cancelling…"
    start = system.progress_starts.get(run.pk)
    rate = formatting.rate(run.status, run.progress_current, start, run.progress_at or system.now)
    since = formatting.between(run.started_at or run.created_at, system.now) or 0.0
    left = formatting.time_left(rate, run.progress_current, run.progress_total)
    return left or f"running for {formatting.roughly(since)}"


def failed(failure: Failure, now: datetime) -> FailedView:
    run = failure.run
    why = formatting.printable(run.error.strip()) or str(FailureKind(run.failure_kind).label)
    alike = {"status__exact": run.status, "experiment": run.experiment, "failure_kind__exact": run.failure_kind}
    return FailedView(
        run=run,
        why=why[:300],
        ago=formatting.age(run.finished_at, now),
        others=f"{failure.more:,}{'+' if failure.is_at_least else ''}" if failure.more else "",
        others_query=f"?{urlencode(alike)}",
    )
