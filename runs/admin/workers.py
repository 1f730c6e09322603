"""Workers in the admin: where runs are executed. Read-only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from runs import formatting
from runs.conf import runs_settings
from runs.models import Worker

CHIPS = {"Up": "success", "Stopping": "warning", "Silent": "danger", "Stopped": ""}


@admin.register(Worker)
class WorkerAdmin(ModelAdmin):
    """Rows are made by the workers themselves."""

    list_display = ("name", "state", "host", "pid", "busy", "heard_of", "started_at")
    search_fields = ("name", "host")
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)
    fields = readonly_fields = (
        "name", "state", "busy", "listens", "host", "pid", "version", "heard_of", "started_at", "stopping_at",
        "stopped_at", "claims", "idle_wakes", "its_runs",
    )  # fmt: skip

    class Media:
        css = {"all": ("runs/run.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        queryset: QuerySet[Worker] = super().get_queryset(request)
        return queryset.annotate(busy=Count("attempts", filter=Q(attempts__finished_at=None)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    @display(description="State", label=CHIPS)
    def state(self, worker: Worker) -> str:
        if worker.stopped_at:
            return "Stopped"
        if (timezone.now() - worker.heartbeat_at).total_seconds() > runs_settings().lease_s:
            return "Silent"
        return "Stopping" if worker.stopping_at else "Up"

    @display(description="Runs")
    def busy(self, worker: Worker) -> str:
        return f"{worker.busy} of {worker.slots}"  # type: ignore[attr-defined]  # annotated

    @display(description="Queues")
    def listens(self, worker: Worker) -> str:
        return ", ".join(worker.queues) or formatting.NOTHING

    @display(description="Executed")
    def its_runs(self, worker: Worker) -> str:
        where = reverse("admin:runs_run_changelist")
        return format_html('<a href="{}?worker={}" class="run-link">its runs</a>', where, worker.pk)

    @display(description="Last heard of")
    def heard_of(self, worker: Worker) -> str:
        return formatting.age(worker.heartbeat_at, timezone.now())
