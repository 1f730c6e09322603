"""Page of failed logins, where a superuser unlocks them."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from athanor.conf import web_settings
from experiments.strict_lists import StrictList
from runs import audit
from runs.admin.audit_log import Audited
from runs.states import Act

for model in list(admin.site._registry):  # secrets, tokens and settings that are not for pages
    if model._meta.app_label in ("account", "socialaccount", "mfa"):
        admin.site.unregister(model)


@admin.register(AccessAttempt)
class FailedLogins(StrictList, Audited, ModelAdmin):
    """Failed logins by name and address, for superusers. The next failure removes rows older than the cool-off."""

    list_display = ("username", "ip_address", "failures_since_start", "attempt_time", "state")
    list_display_links = None
    search_fields = ("username", "ip_address")
    ordering = ("-attempt_time",)
    fields = readonly_fields = ("username", "ip_address", "failures_since_start", "attempt_time")
    actions = ("unlock",)
    show_full_result_count = False
    paginator = InfinitePaginator

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": "Failed logins", **(extra_context or {})})

    @admin.display(description="State")
    def state(self, attempt: AccessAttempt) -> str:
        return "Locked" if attempt.failures_since_start >= web_settings().login_failures_max else "Counted"

    @admin.action(description="Unlock", permissions=["view"])
    def unlock(self, request: HttpRequest, queryset: QuerySet[AccessAttempt]) -> None:
        with transaction.atomic():
            for attempt in queryset:
                audit.record(Act.UNLOCK, kind="user", name=attempt.username or "", client=attempt.ip_address)
            count, _ = queryset.delete()
        messages.success(request, f"Unlocked {count} login{'' if count == 1 else 's'}.")

    def has_view_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return request.user.is_superuser

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False
