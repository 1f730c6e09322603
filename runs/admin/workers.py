"""Workers in the admin. Read-only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from experiments.strict_lists import StrictList
from runs import formatting
from runs.conf import runs_settings
from runs.health import with_busy
from runs.models import Worker

CHIPS = {"Online": "success", "Stopping": "warning", "No heartbeat": "danger", "Lost": "danger", "Stopped": ""}


@admin.register(Worker)
class WorkerAdmin(StrictList, ModelAdmin):
    """Read-only: workers create and update their own rows."""

    list_display = ("name", "state", "host", "pid", "busy", "last_heartbeat", "started_at")
    search_fields = ("name", "host")
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)
    fields = readonly_fields = (
        "name", "state", "busy", "listens", "host", "pid", "version", "last_heartbeat", "started_at", "stopping_at",
        "stopped_at", "claims", "idle_wakes", "executed",
    )  # fmt: skip

    class Media:
        css = {"all": ("runs/run.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        return with_busy(super().get_queryset(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    @display(description="State", label=CHIPS)
    def state(self, worker: Worker) -> str:
        if worker.stopped_at:
            return "Stopped" if worker.stopping_at else "Lost"  # a worker that stops by itself first marks that it does
        if (timezone.now() - worker.heartbeat_at).total_seconds() > runs_settings().lease_s:
            return "No heartbeat"
        return "Stopping" if worker.stopping_at else "Online"

    @display(description="Runs")
    def busy(self, worker: Worker) -> str:
        return f"{worker.busy} of {worker.slots}"  # type: ignore[attr-defined]  # annotated

    @display(description="Queues")
    def listens(self, worker: Worker) -> str:
        return ", ".join(worker.queues) or formatting.NOTHING

    @display(description="Runs executed")
    def executed(self, worker: Worker) -> str:
        where = reverse("admin:runs_run_changelist")
        return format_html('<a href="{}?worker={}" class="run-link">Show runs</a>', where, worker.pk)

    @display(description="Last heartbeat")
    def last_heartbeat(self, worker: Worker) -> str:
        return formatting.age(worker.heartbeat_at, timezone.now())
