"""Admins of other packages, registered again in the style of unfold: stored task results, users and groups."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django_celery_results.admin import TaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.paginator import InfinitePaginator

from experiments.strict_lists import StrictList
from runs.admin.audit_log import Audited
from runs.models import rights

for model in (TaskResult, GroupResult, User, Group):
    admin.site.unregister(model)


@admin.register(TaskResult)
class ReadOnlyTaskResultAdmin(StrictList, TaskResultAdmin, ModelAdmin):
    """Results that Celery stored of supervising tasks, linked from their attempts. Without the date hierarchy, which
    reads the whole table.
    """

    date_hierarchy = None
    list_display = ("task_id", "task_name", "date_done", "status", "worker")
    list_filter = ("status",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = InfinitePaginator

    def has_view_permission(self, request: HttpRequest, obj: TaskResult | None = None) -> bool:
        """Refuse users from whom access rules may hide runs: a result does not name its run."""
        return bool(super().has_view_permission(request, obj)) and not rights.of(request.user).restrict_view

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: TaskResult | None = None) -> bool:
        return False


@admin.register(User)
class StyledUserAdmin(StrictList, Audited, UserAdmin, ModelAdmin):  # type: ignore[type-arg, misc]  # generic in the stubs only
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class StyledGroupAdmin(StrictList, Audited, GroupAdmin, ModelAdmin):  # type: ignore[misc]  # as above
    pass
