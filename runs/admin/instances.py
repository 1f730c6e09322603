"""Launch buttons for instances, on their pages and in each row of the list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action

from experiments.admin import InstanceAdmin
from experiments.models import Instance
from runs.admin import permissions
from runs.admin.audit_log import Audited
from runs.models import rights

admin.site.unregister(Instance)


@admin.register(Instance)
class LaunchableInstanceAdmin(Audited, InstanceAdmin):
    """Admin of instances with a launch button. `experiments` itself does not depend on `runs`."""

    actions_detail = (*InstanceAdmin.actions_detail, "launch", "runs_of_it")
    actions_row = (*InstanceAdmin.actions_row, "launch")

    def has_launch_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return permissions.may_launch(request) or request.user.has_perm("experiments.launch_instance")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        instances: QuerySet[Instance] = super().get_queryset(request)
        return instances.filter(rights.of(request.user).condition("view"))

    def has_change_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        is_allowed = obj is None or permissions.may_configure(request, obj)
        return is_allowed and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        is_allowed = obj is None or permissions.may_configure(request, obj)
        return is_allowed and bool(super().has_delete_permission(request, obj))

    def save_model(self, request: HttpRequest, obj: Instance, form: Any, change: bool) -> None:
        if not permissions.may_configure(request, obj):  # checked with its new queue, too
            raise PermissionDenied
        super().save_model(request, obj, form, change)

    def has_view_runs_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return permissions.may_view(request)

    @action(description="Launch", permissions=["launch"], icon="rocket_launch")
    def launch(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:runs_run_launch") + f"?instance={object_id}")

    @action(description="Show runs", permissions=["view_runs"], icon="list")
    def runs_of_it(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:runs_run_changelist") + f"?instance={object_id}")
