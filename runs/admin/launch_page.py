"""Launch page: choose an experiment, fill in its form, launch it or save it as an instance.

`?experiment=NAME`, `?instance=ID` or `?run=ID` (again, with changes) selects what to launch. The rest of the query
fills in the form: `epochs=3&optimizer.rate=0.1`. A key belongs to the configuration if that has a field of this name,
or else to the launch (`name`, `tags`, `queue`, `priority`, `seed`). Prefixes make it explicit: `launch.seed`,
`limits.timeout_s`, `configuration.name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import Truncator

from experiments import catalog
from experiments.choices import about, choice_context
from experiments.forms.rendering import COMMAND
from experiments.forms.widget import GeneratedWidget
from experiments.models import Instance
from runs import audit, services
from runs.admin import permissions
from runs.admin.cold_starts import cold_start
from runs.admin.launch_form import LaunchForm
from runs.admin.launch_target import Target
from runs.exceptions import LaunchRefused
from runs.formatting import pretty
from runs.ids import row_id
from runs.models import Run, rights

TARGETS = ("experiment", "instance", "run")
INSTANCES = 50
"""Maximum number of instances listed beside the experiments."""


def page(request: HttpRequest, base: Mapping[str, Any]) -> HttpResponse:
    """Answer the launch page. `base` is the context of every admin page."""
    name, instance, run = requested(request)
    entry = catalog.current().entries.get(name)
    target = Target(entry, instance, run) if entry else None
    if not may_launch(request, target):
        raise PermissionDenied
    if target is None:
        return choosing(request, base, name)
    if not permissions.may_launch_freely(request, target.experiment):
        return unchanged(request, base, target)
    query = {key: request.GET.getlist(key) for key in request.GET if key not in TARGETS}
    form = LaunchForm(target, request.POST if request.method == "POST" else None, query)
    if request.method == "POST" and form.is_valid() and (done := act(request, form)):
        return done
    for sentence in form.refused:
        messages.warning(request, sentence)
    context = {
        **base,
        "title": target.title,
        "media": form.media,
        "target": target,
        "about": about(target.experiment),
        "cold_start": cold_start(target.experiment.name),
        "form": form,
        "parts": form.drawn(),
        "summary": form.summary(),
        "command": COMMAND,
        "may_save": request.user.has_perm("experiments.add_instance"),
    }
    status = 422 if form.is_bound and not form.is_edit else 200
    return TemplateResponse(request, "runs/launch.html", context, status=status)


def unchanged(request: HttpRequest, base: Mapping[str, Any], target: Target) -> HttpResponse:
    """Show or launch an instance for a user who may launch it unchanged only. Posted values are refused."""
    instance = target.instance
    if instance is None or set(request.POST) - {COMMAND, "csrfmiddlewaretoken"}:
        raise PermissionDenied
    if request.method == "POST":
        try:
            run = services.launch(instance, by=request.user, via="admin")  # type: ignore[arg-type]  # not anonymous
        except LaunchRefused as error:
            messages.error(request, Truncator(str(error)).chars(500))
        else:
            messages.success(request, f"Launched run {run.pk}.")
            return HttpResponseRedirect(_after_launch(request, run))
    elif set(request.GET) - {*TARGETS}:
        messages.warning(request, "You may only launch this instance unchanged. The values of the link are not used.")
    shown = catalog.masked(instance.experiment, instance.configuration)
    context = {
        **base,
        "title": target.title,
        "media": GeneratedWidget.media_of(),
        "instance": instance,
        "about": about(target.experiment),
        "configuration": pretty(shown),
        "limits": pretty(instance.limits) if instance.limits else "",
        "queue": instance.queue or target.experiment.queue,
        "command": COMMAND,
    }
    return TemplateResponse(request, "runs/launch_unchanged.html", context)


def _after_launch(request: HttpRequest, run: Run) -> str:
    """Return the URL of the run, or of the home page for a user who may not view runs."""
    return run.get_absolute_url() if permissions.may_view(request) else reverse("admin:index")


def choosing(request: HttpRequest, base: Mapping[str, Any], name: str) -> HttpResponse:
    """Answer the list of experiments and instances. `name` is a requested experiment that does not exist."""
    query = request.GET.get("q", "")
    instances = rights.visible_instances(request.user)
    may_see = request.user.has_perm("experiments.view_instance")
    context = {
        **base,
        "title": "Launch",
        "media": GeneratedWidget.media_of(),
        "instances": instances.filter(name__icontains=query)[:INSTANCES] if may_see else [],
        **choice_context(request.GET, name),
    }
    entries = catalog.current().entries
    context["experiments"] = [
        each for each in context["experiments"] if permissions.may_launch_freely(request, entries[each.name])
    ]
    return TemplateResponse(request, "runs/choose.html", context)


def act(request: HttpRequest, form: LaunchForm) -> HttpResponse | None:
    """Launch or save. Returns None, with the errors at their fields, if it is refused."""
    if request.POST.get(COMMAND) == "save":
        return _save(request, form)
    source = form.target.run
    with audit.with_details(copied_from=source.pk if source else None):
        run = form.launch(by=request.user)
    if run is None:
        return None
    messages.success(request, f"Launched run {run.pk}.")
    return HttpResponseRedirect(_after_launch(request, run))


def _save(request: HttpRequest, form: LaunchForm) -> HttpResponse | None:
    if not request.user.has_perm("experiments.add_instance"):
        raise PermissionDenied
    base = form.target.instance
    queue = form.cleaned_data["queue"] or (base.queue if base else "")
    if not rights.of(request.user).allow("configure", form.target.experiment.name, queue):
        raise PermissionDenied
    instance = form.save_instance(by=request.user)
    if instance is None:
        return None
    messages.success(request, f"Saved instance {instance.name}. It is not launched yet.")
    if left := form.not_saved():
        messages.warning(request, f"Not saved with the instance: {', '.join(left)}. Set them at the launch.")
    return HttpResponseRedirect(instance.get_absolute_url())


def requested(request: HttpRequest) -> tuple[str, Instance | None, Run | None]:
    """Return the experiment of the query, and the instance or the run from which the form is filled in."""
    query = request.GET
    run = _row(Run.objects.visible_to(request.user), query.get("run"))
    instance = _row(rights.visible_instances(request.user), query.get("instance"))
    if (run and not permissions.may_view(request)) or (instance and not _may_see(request)):
        raise PermissionDenied
    for kind, row in (("run", run), ("instance", instance)):
        if kind in query and row is None:
            messages.warning(request, f"There is no {kind} {query[kind]!r}. Choose what to launch.")
    source = run or instance
    return source.experiment if source else query.get("experiment", ""), None if run else instance, run


def _may_see(request: HttpRequest) -> bool:
    """Return whether the user may see the configuration of instances."""
    return any(request.user.has_perm(f"experiments.{may}_instance") for may in ("view", "change", "launch"))


def may_launch(request: HttpRequest, target: Target | None) -> bool:
    """Return whether the user may launch the target. Some users may launch instances only."""
    if target is None:
        return permissions.may_launch(request)
    if permissions.may_launch_freely(request, target.experiment):
        return True
    return target.instance is not None and permissions.may_launch_instance(request, target.instance, target.experiment)


def _row(rows: Any, pk: str | None) -> Any:
    key = row_id(pk)
    return None if key is None else rows.filter(pk=key).first()
