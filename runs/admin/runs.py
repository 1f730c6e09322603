"""Runs in the admin: the list with its actions, and the run page. Read-only; actions go through `services`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.db.models import QuerySet
from django.forms import CharField, Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.views.decorators.http import require_GET
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.forms import ActionForm
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextInputWidget

from experiments.strict_lists import StrictList
from runs import deletion, formatting, services
from runs.admin import actions, columns, home, launch_page, permissions, search
from runs.admin.audit_log import Audited
from runs.admin.compare import Comparing
from runs.admin.filters import (
    BeforeFilter,
    ColumnsWord,
    ExperimentFilter,
    InstanceFilter,
    LauncherFilter,
    SinceFilter,
    SortWord,
    TagFilter,
    WorkerFilter,
)
from runs.admin.views import RunPages
from runs.comparison import RUNS_MAX
from runs.ids import row_id, row_ids
from runs.models import Run
from runs.models.run import RunQuerySet
from runs.run_search import newest
from runs.states import Status


class RunChangeList(ChangeList):
    """Change list with the chosen columns."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Run]:
        return columns.with_values(request, super().get_queryset(request, exclude_parameters))


class TagForm(ActionForm):
    """Form of the actions, with tags for the action that needs them."""

    tags = CharField(
        required=False,
        max_length=200,
        label="",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "tags, -tag to remove", "aria-label": "Tags"}),
    )


def chips(request: HttpRequest) -> list[dict[str, Any]]:
    """Return links to each status that keep the other parameters of the query."""
    now = request.GET.get("status__exact", "")
    links = []
    for value, label in [("", "All"), *Status.choices]:
        query = request.GET.copy()
        query.pop("p", None)
        query.pop("status__exact", None)
        if value:
            query["status__exact"] = value
        links.append({"value": value, "label": label, "query": f"?{query.urlencode()}", "is_chosen": value == now})
    return links


@admin.register(Run)
class RunAdmin(StrictList, Audited, RunPages, Comparing, ModelAdmin):
    """Read-only, except that finished runs can be deleted. Each action has its permission."""

    list_display = ("title", "chip", "progress", "experiment", "took", "by", "launched")
    list_display_links = ("title",)
    list_filter = (
        "status",
        "failure_kind",
        ExperimentFilter,
        InstanceFilter,
        TagFilter,
        WorkerFilter,
        LauncherFilter,
        SinceFilter,
        BeforeFilter,
        ColumnsWord,
        SortWord,
    )
    list_filter_submit = True
    list_filter_sheet = True
    list_before_template = "runs/list_before.html"
    list_select_related = ("launched_by",)
    list_per_page = 50
    list_fullwidth = True
    search_fields = ("name", "experiment")
    search_help_text = "Search runs"
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # they would count the whole table for each choice
    paginator = InfinitePaginator
    ordering = ("-id",)
    actions = ("compare_runs", "cancel_runs", "retry_runs", "rerun_runs", "tag_runs")
    action_form = TagForm
    actions_list = ("go_launch",)

    class Media:
        css = {"all": ("runs/run.css",)}
        js = (Script("runs/list.js", type="module"),)

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return permissions.may_view(request)

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return permissions.may_delete(request, obj) and (obj is None or obj.is_final)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        runs: RunQuerySet = super().get_queryset(request)
        return runs.visible_to(request.user)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return permissions.may_cancel(request)

    def has_tag_permission(self, request: HttpRequest) -> bool:
        return permissions.may_tag(request)

    def has_launch_permission(self, request: HttpRequest) -> bool:
        return permissions.may_launch(request)

    # The list

    @display(description="Run", ordering="id")
    def title(self, run: Run) -> str:
        return format_html('<span class="run-number">{}</span> {}', run.pk, run.name)

    @display(description="Status", ordering="status")
    def chip(self, run: Run) -> str:
        return format_html('<span class="run-chip run-{}">{}</span>', *run.badge)

    @display(description="Progress")
    def progress(self, run: Run) -> str:
        if run.status == Status.FAILED:
            return format_html('<span class="run-why" title="{}">{}</span>', run.error[:500], run.failure_kind)
        fraction = formatting.fraction(run.progress_current, run.progress_total)
        if fraction is None:
            return formatting.progress_words(run.progress_current, run.progress_total, run.progress_message)[:60]
        return format_html(
            '<svg class="run-bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
            '<rect class="run-fill run-{}" width="{}" height="1"/></svg>{}',
            run.status,
            f"{fraction * 100:.1f}",
            formatting.percent(fraction),
        )

    @display(description="Duration")
    def took(self, run: Run) -> str:
        return formatting.duration(formatting.between(run.started_at, run.finished_at or timezone.now()))

    @display(description="Launched by")
    def by(self, run: Run) -> str:
        return (
            run.launched_by.get_username()
            if run.launched_by
            else formatting.via(run.launched_via) or formatting.NOTHING
        )

    @display(description="Launched", ordering="id")
    def launched(self, run: Run) -> str:
        ago = formatting.age(run.created_at, timezone.now())
        return format_html('<time datetime="{}" title="{}">{}</time>', run.created_at.isoformat(), run.created_at, ago)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Search by number, or else in names."""
        term = search_term.strip()
        if (pk := row_id(term.removeprefix("#"))) is not None:
            return queryset.filter(pk=pk), False
        results: tuple[QuerySet[Run], bool] = super().get_search_results(
            request, newest(queryset) if term else queryset, search_term
        )
        return results

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*self.list_display, *columns.displays(request)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RunChangeList]:
        return RunChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_view = permissions.may_view(request)
        more = {
            "chips": chips(request),
            "columns": columns.column_choices(request) if may_view else [],
            "sorts": columns.sort_choices(request),
            "kept": [item for item in request.GET.items() if item[0] not in ("columns", "sort", "p", "e")],
        }
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **more})
        return response

    def rows_view(self, request: HttpRequest) -> HttpResponse:
        """Return the current cells of rows on an open page: `?ids=1,2,3`."""
        permissions.must_view(request)
        ids = row_ids(request.GET.get("ids", ""), 2 * self.list_per_page)
        rows = {
            run.pk: {
                "chip": self.chip(run),
                "progress": conditional_escape(self.progress(run)),
                "took": conditional_escape(self.took(run)),
                "active": not run.is_final,
            }
            for run in Run.objects.visible_to(request.user).filter(pk__in=ids)
        }
        newest_pk = Run.objects.visible_to(request.user).order_by("-pk").values_list("pk", flat=True).first()
        return JsonResponse({"rows": rows, "newest": newest_pk or 0})

    # Actions on many

    @action(description="Cancel", permissions=["cancel"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        actions.cancel(request, actions.chosen(request, queryset)).show(request)

    @action(description="Retry from the last checkpoint", permissions=["launch"])
    def retry_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        actions.again(request, actions.chosen(request, queryset), services.retry, "retried")[0].show(request)

    @action(description="Rerun from scratch", permissions=["launch"])
    def rerun_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        actions.again(request, actions.chosen(request, queryset), services.rerun, "rerun")[0].show(request)

    @action(description="Compare", permissions=["view"])
    def compare_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse | None:
        ids = actions.chosen(request, queryset)
        if not 2 <= len(ids) <= RUNS_MAX:
            messages.warning(request, f"Select 2 to {RUNS_MAX} runs to compare. You selected {len(ids):,}.")
            return None
        return HttpResponseRedirect(reverse("admin:runs_run_compare") + "?runs=" + ",".join(map(str, ids)))

    @action(description="Add or remove tags", permissions=["tag"])
    def tag_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        actions.tag(request, actions.chosen(request, queryset), request.POST.get("tags", "")).show(request)

    @action(description="Launch", permissions=["launch"], url_path="go-launch", icon="rocket_launch")
    def go_launch(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:runs_run_launch"))

    # Deleting, without loading what is deleted

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        runs = list(objs)
        active = [
            f"{run} is {run.status}. Cancel it first, or wait until it finishes." for run in runs if not run.is_final
        ]
        missing = set() if all(permissions.may_delete(request, run) for run in runs) else {"run"}
        return [f"{run} with its logs, values and files" for run in runs], {"runs": len(runs)}, missing, active

    def delete_model(self, request: HttpRequest, obj: Run) -> None:
        deletion.erase([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        deletion.erase(list(queryset.values_list("pk", flat=True)))

    # Pages

    def get_urls(self) -> list[URLPattern]:
        own = {"launch": self.launch_view, "rows": require_GET(self.rows_view), "home": require_GET(home.status_view)}
        own["search"] = require_GET(search.search_view)
        urls: list[URLPattern] = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"runs_run_{name}") for name, view in own.items()
        ]
        return [*urls, *self.compare_urls(), *self.page_urls(), *super().get_urls()]

    def launch_view(self, request: HttpRequest) -> HttpResponse:
        """Choose an experiment, then enter its configuration."""
        request.current_app = self.admin_site.name
        return launch_page.page(request, {**self.admin_site.each_context(request), "opts": self.opts})
