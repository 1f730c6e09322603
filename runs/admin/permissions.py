"""Permissions, checked in one place for all pages: permissions of Django, and access rules."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from experiments.catalog import Entry
from experiments.models import Instance
from runs.models import Run, Schedule, rights


def may_view(request: HttpRequest) -> bool:
    """Return whether the user may view runs. `Run.objects.visible_to` selects them."""
    return request.user.has_perm("runs.view_run") or request.user.has_perm("runs.change_run")


def must_view(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the user may view runs."""
    if not may_view(request):
        raise PermissionDenied


def may_cancel(request: HttpRequest, run: Run | None = None) -> bool:
    """Return whether the user may cancel runs, or this run."""
    return request.user.has_perm("runs.cancel_run") and _may_handle(request, run)


def may_inspect(request: HttpRequest, run: Run | None = None) -> bool:
    """Return whether the user may capture stack traces of a run. Users who may cancel it may do so."""
    return may_cancel(request, run)


def may_launch(request: HttpRequest, run: Run | None = None) -> bool:
    """Return whether the user may launch, retry and rerun, or launch this run again."""
    if not request.user.has_perm("runs.launch_run"):
        return False
    return run is None or rights.of(request.user).allow("launch", run.experiment, run.queue)


def may_launch_freely(request: HttpRequest, experiment: Entry) -> bool:
    """Return whether the user may launch the experiment with any values. Its queue is checked at the launch."""
    if not may_launch(request):
        return False
    rules, name, queue = rights.of(request.user), experiment.name, experiment.queue
    return rules.allow("launch", name, queue) and rules.allow("configure", name, queue)


def may_launch_instance(request: HttpRequest, instance: Instance, experiment: Entry) -> bool:
    """Return whether the user may launch the instance unchanged."""
    user, queue = request.user, instance.queue or experiment.queue
    is_permitted = user.has_perm("runs.launch_run") or user.has_perm("experiments.launch_instance")
    return is_permitted and rights.of(user).allow("launch", instance.experiment, queue)


def may_configure(request: HttpRequest, instance: Instance) -> bool:
    """Return whether the access rules let the user change the instance."""
    return rights.of(request.user).allow("configure", instance.experiment, instance.queue)


def may_schedule(request: HttpRequest, schedule: Schedule, action: rights.Action) -> bool:
    """Return whether the access rules allow an action with the schedule."""
    queue = schedule.queue or (schedule.instance.queue if schedule.instance else "")
    return rights.of(request.user).allow(action, schedule.target_experiment, queue)


def may_delete(request: HttpRequest, run: Run | None = None) -> bool:
    return request.user.has_perm("runs.delete_run") and _may_handle(request, run)


def may_tag(request: HttpRequest, run: Run | None = None) -> bool:
    """Return whether the user may change tags, the only editable property of a run."""
    return request.user.has_perm("runs.change_run") and _may_handle(request, run)


def _may_handle(request: HttpRequest, run: Run | None) -> bool:
    """Return whether the user launched the run, or the access rules let the user cancel it."""
    if run is None or run.launched_by_id == request.user.pk:
        return True
    return rights.of(request.user).allow("cancel", run.experiment, run.queue)
