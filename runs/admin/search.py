"""Search of the sidebar: runs by number or name, instances, schedules, experiments and pages. Reads only, bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from experiments import catalog
from experiments.models import Instance
from runs.admin import permissions
from runs.ids import row_id
from runs.models import Run, Schedule, Worker, rights
from runs.run_search import matching

EACH_MAX = 5
"""Results of each kind."""
TEXT_MAX = 200
PAGES = {"Runs": Run, "Instances": Instance, "Schedules": Schedule, "Workers": Worker}


@dataclass(frozen=True, slots=True)
class Hit:
    kind: str
    title: str
    address: str


def search_view(request: HttpRequest) -> HttpResponse:
    """Results as a list for an open page; without a script the form leads to the first one, or to the list of runs."""
    text = request.GET.get("s", "").replace("\0", "").strip()[:TEXT_MAX]
    hits = list(search(request, text)) if text else []
    if "HX-Request" in request.headers or not permissions.may_view(request):
        return render(request, "runs/parts/search.html", {"hits": hits, "text": text})
    if len(hits) == 1 or (row_id(text.removeprefix("#")) is not None and hits):
        return HttpResponseRedirect(hits[0].address)
    return HttpResponseRedirect(reverse("admin:runs_run_changelist") + "?" + urlencode({"q": text}))


def search(request: HttpRequest, text: str) -> Iterator[Hit]:
    """Yield hits of each kind that the user may see."""
    kinds: tuple[tuple[bool, Callable[[HttpRequest, str], Iterable[Hit]]], ...] = (
        (permissions.may_view(request), _runs),
        (request.user.has_perm("experiments.view_instance"), _instances),
        (request.user.has_perm("runs.view_schedule"), _schedules),
        (permissions.may_launch(request), _experiments),
    )
    for is_permitted, find in kinds:
        if is_permitted:
            yield from find(request, text)
    for title, model in PAGES.items():
        app, name = model._meta.app_label, model._meta.model_name
        if text.lower() in title.lower() and request.user.has_perm(f"{app}.view_{name}"):
            yield Hit("Page", title, reverse(f"admin:{app}_{name}_changelist"))


def _runs(request: HttpRequest, text: str) -> Iterator[Hit]:
    """Yield the run of this number first, then the newest matches."""
    number = row_id(text.removeprefix("#"))
    runs = Run.objects.visible_to(request.user)
    named = matching(runs.exclude(pk=number or 0), text).order_by("-pk")[:EACH_MAX]
    for run in [*runs.filter(pk=number or 0), *named]:
        yield Hit("Run", f"#{run.pk} {run.name or run.experiment}", run.get_absolute_url())


def _instances(request: HttpRequest, text: str) -> Iterator[Hit]:
    for instance in rights.visible_instances(request.user).filter(name__icontains=text).order_by("name")[:EACH_MAX]:
        yield Hit("Instance", instance.name, instance.get_absolute_url())


def _schedules(request: HttpRequest, text: str) -> Iterator[Hit]:
    for schedule in Schedule.objects.visible_to(request.user).filter(name__icontains=text).order_by("name")[:EACH_MAX]:
        yield Hit("Schedule", schedule.name, schedule.get_absolute_url())


def _experiments(request: HttpRequest, text: str) -> Iterator[Hit]:
    offered = [entry for entry in catalog.current().all() if permissions.may_launch_freely(request, entry)]
    matching = [entry for entry in offered if text.lower() in f"{entry.name} {entry.title}".lower()]
    for entry in matching[:EACH_MAX]:
        address = f"{reverse('admin:runs_run_launch')}?{urlencode({'experiment': entry.name})}"
        yield Hit("Launch", entry.title, address)
