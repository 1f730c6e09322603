"""Access rules in the admin. Only superusers may edit them unless a group has the permissions of the model."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import ModelAdmin

from experiments.strict_lists import StrictList
from runs.admin.audit_log import Audited
from runs.models import AccessRule


@admin.register(AccessRule)
class AccessRuleAdmin(StrictList, Audited, ModelAdmin):
    """Access rules. Runs that match none are open; others are reserved for the groups whose rules allow an action."""

    list_display = ("group", "experiment", "queue", "view", "launch", "configure", "cancel")
    list_display_links = ("group", "experiment")
    list_filter = ("group",)
    list_select_related = ("group",)
    search_fields = ("experiment", "queue", "group__name")
