"""Permissions of the pages of schedules."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest

from runs.admin import permissions
from runs.models import Schedule
from runs.models.schedule import ScheduleQuerySet


class SchedulePermissions:
    """Mixin of ScheduleAdmin. Users who save a schedule become its owner, so they need permission to launch."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        is_permitted = super().has_add_permission(request)  # type: ignore[misc]  # of ModelAdmin
        return bool(is_permitted) and self._may_launch(request)

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        if obj is not None and not permissions.may_schedule(request, obj, "configure"):
            return False
        is_permitted = super().has_change_permission(request, obj)  # type: ignore[misc]  # as above
        return bool(is_permitted) and self._may_launch(request)

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        is_allowed = obj is None or permissions.may_schedule(request, obj, "configure")
        return is_allowed and bool(super().has_delete_permission(request, obj))  # type: ignore[misc]  # as above

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        schedules: ScheduleQuerySet = super().get_queryset(request)  # type: ignore[misc]  # as above
        return schedules.visible_to(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        return request.user.has_perm("runs.view_schedule") or request.user.has_perm("runs.change_schedule")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.pause_schedule")

    def has_trigger_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.trigger_schedule")

    @staticmethod
    def _may_launch(request: HttpRequest) -> bool:
        return permissions.may_launch(request) or request.user.has_perm("experiments.launch_instance")

    def pausable(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> list[Schedule]:
        """Return the schedules that the access rules let the user pause. A message names the others."""
        schedules = {schedule: permissions.may_schedule(request, schedule, "launch") for schedule in queryset}
        if refused := [schedule.name for schedule, is_allowed in schedules.items() if not is_allowed]:
            messages.warning(request, f"The access rules do not let you change {', '.join(refused[:5])}.")
        return [schedule for schedule, is_allowed in schedules.items() if is_allowed]
