"""Audit log in the admin: its page, and the history of each object. Both are read-only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from experiments.strict_lists import StrictList
from runs import formatting
from runs.admin.filters import ChoiceFilter, DayFilter
from runs.models import AuditEntry
from runs.states import Act, Door

APPS = {
    "run": "runs",
    "schedule": "runs",
    "instance": "experiments",
    "user": "auth",
    "group": "auth",
    "accessrule": "runs",
}
"""Kind of object → its app, for links to its page."""
KINDS = {"accessrule": "access rule"}
ENTRIES_ON_PAGE = 100
VIEW = "runs.view_auditentry"


def in_words(entry: AuditEntry) -> str:
    """Format an act with its details."""
    act = str(Act(entry.act).label) if entry.act in Act.values else entry.act
    counted = f" ({entry.count:,})" if entry.count != 1 else ""
    details = "; ".join(f"{name}: {_value(value)}" for name, value in entry.details.items())
    return formatting.printable(f"{act}{counted}{'; ' if details else ''}{details}")


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


class ColumnFilter(ChoiceFilter):
    """Filter by a column with few values."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class ActFilter(ColumnFilter):
    title = parameter_name = "act"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Act.choices]


class DoorFilter(ColumnFilter):
    title = parameter_name = "door"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Door.choices]


class KindFilter(ColumnFilter):
    title = "kind of object"
    parameter_name = "kind"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(kind, KINDS.get(kind, kind)) for kind in APPS]


class SinceFilter(DayFilter):
    title = "since (2026-03-01)"
    parameter_name = "since"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        day = self.day()
        return queryset if day is None else queryset.filter(at__gte=day)


class BeforeFilter(DayFilter):
    title = "before (2026-03-01)"
    parameter_name = "before"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        day = self.day()
        return queryset if day is None else queryset.filter(at__lt=day)


@admin.register(AuditEntry)
class AuditEntryAdmin(StrictList, ModelAdmin):
    """Read-only list of audit entries, which has a permission of its own."""

    list_display = ("at", "actor", "door", "address", "what", "target")
    list_display_links = ("at",)
    list_filter = (ActFilter, DoorFilter, KindFilter, SinceFilter, BeforeFilter)
    list_filter_submit = True
    list_per_page = 100
    list_fullwidth = True
    search_fields = ("who", "address", "name", "=key")
    search_help_text = "Search users, addresses and objects"
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)
    fields = readonly_fields = ("at", "actor", "door", "address", "what", "target", "kind", "key", "count")

    class Media:
        css = {"all": ("runs/run.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    @display(description="Who")
    def actor(self, entry: AuditEntry) -> str:
        return entry.who or formatting.NOTHING

    @display(description="What")
    def what(self, entry: AuditEntry) -> str:
        return in_words(entry)

    @display(description="Object")
    def target(self, entry: AuditEntry) -> str:
        text = " ".join(filter(None, (KINDS.get(entry.kind, entry.kind), entry.name or entry.key)))
        app = APPS.get(entry.kind)
        if app is None or not entry.key:
            return text or formatting.NOTHING
        try:
            link = reverse(f"admin:{app}_{entry.kind}_change", args=[entry.key])
        except NoReverseMatch:
            return text
        return format_html('<a href="{}" class="run-link">{}</a>', link, text)


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """Row of Django's history page."""

    action_time: datetime
    user: Any
    get_change_message: str


class Audited:
    """Mixin for a ModelAdmin, put before it: its history comes from the audit log, and Django's own log stays empty.

    `runs.services` and the signals of `runs.audited` record what the forms do.
    """

    opts: Any

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> None:
        """Record nothing."""

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> None:
        """Record nothing."""

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> None:
        """Record nothing."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the history of an object, with addresses for users who may view the audit log."""
        entries = AuditEntry.objects.filter(kind=self.opts.model_name, key=object_id[:40]).order_by("pk")
        pages = Paginator(entries, ENTRIES_ON_PAGE)
        page = pages.get_page(request.GET.get("p", 1))
        shows_address = request.user.has_perm(VIEW)
        rows: Any = [history_row(entry, shows_address=shows_address) for entry in page]
        page.object_list = rows
        context = {
            "action_list": page,
            "page_range": pages.get_elided_page_range(page.number),
            "pagination_required": pages.count > ENTRIES_ON_PAGE,
            **(extra_context or {}),
        }
        answer: HttpResponse = super().history_view(request, object_id, context)  # type: ignore[misc]  # of ModelAdmin
        return answer


def history_row(entry: AuditEntry, *, shows_address: bool) -> HistoryRow:
    who = entry.who if entry.door == Door.ADMIN else f"{entry.who} ({entry.door})"
    place = f", from {entry.address}" if shows_address and entry.address else ""
    user = SimpleNamespace(get_username=who, get_full_name="")
    return HistoryRow(entry.at, user, in_words(entry) + place)
