"""Runs in the admin: the list with its actions, and the record page. Nothing is edited; verbs go through `services`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_GET, require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator

from experiments.registry import registry
from runs import erasing, presenting, services
from runs.admin import downloads, launching, lineview, live, page, permissions, verbs
from runs.admin.filters import ExperimentFilter, InstanceFilter
from runs.models import Artifact, LogLine, Run
from runs.states import Level, Source, Status

CHIPS = {
    Status.PENDING.label: "",
    Status.RUNNING.label: "info",
    Status.COMPLETED.label: "success",
    Status.FAILED.label: "danger",
    Status.CANCELLED.label: "warning",
}


@admin.register(Run)
class RunAdmin(ModelAdmin):
    """Read-only. Who may view sees, who may cancel cancels, who may launch retries; finished runs can be deleted."""

    list_display = ("title", "chip", "progress", "experiment", "took", "by", "launched")
    list_display_links = ("title",)
    list_filter = ("status", "failure_kind", ExperimentFilter, InstanceFilter)
    list_select_related = ("launched_by",)
    list_per_page = 50
    list_fullwidth = True
    search_fields = ("name", "experiment")
    search_help_text = "Number, name or experiment"
    show_full_result_count = False
    paginator = InfinitePaginator
    ordering = ("-id",)
    actions = ("cancel_runs", "retry_runs", "rerun_runs")
    actions_list = ("go_launch",)

    class Media:
        css = {"all": ("runs/run.css",)}

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return permissions.may_view(request)

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return permissions.may_delete(request) and (obj is None or obj.is_final)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return permissions.may_cancel(request)

    def has_launch_permission(self, request: HttpRequest) -> bool:
        return permissions.may_launch(request)

    # The list

    @display(description="Run", ordering="id")
    def title(self, run: Run) -> str:
        return format_html('<span class="run-number">{}</span> {}', run.pk, run.name)

    @display(description="Status", ordering="status", label=CHIPS)
    def chip(self, run: Run) -> str:
        return run.get_status_display()

    @display(description="Progress")
    def progress(self, run: Run) -> str:
        if run.status == Status.FAILED:
            return format_html('<span class="run-why" title="{}">{}</span>', run.error[:500], run.failure_kind)
        fraction = presenting.fraction(run.progress_current, run.progress_total)
        if fraction is None:
            return presenting.progress_words(run.progress_current, run.progress_total, run.progress_message)[:60]
        return format_html(
            '<svg class="run-bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
            '<rect class="run-fill run-{}" width="{}" height="1"/></svg>{}',
            run.status,
            f"{fraction * 100:.1f}",
            presenting.percent(fraction),
        )

    @display(description="Took")
    def took(self, run: Run) -> str:
        return presenting.duration(presenting.between(run.started_at, run.finished_at or timezone.now()))

    @display(description="Launched by")
    def by(self, run: Run) -> str:
        return run.launched_by.get_username() if run.launched_by else run.launched_via or presenting.NOTHING

    @display(description="Launched", ordering="id")
    def launched(self, run: Run) -> str:
        ago = presenting.age(run.created_at, timezone.now())
        return format_html('<time datetime="{}" title="{}">{}</time>', run.created_at.isoformat(), run.created_at, ago)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """A number is a run's; anything else is looked for in names."""
        term = search_term.strip()
        if term.isdecimal() and len(term) < 19:
            return queryset.filter(pk=int(term)), False
        found: tuple[QuerySet[Run], bool] = super().get_search_results(request, queryset, search_term)
        return found

    # Actions on many

    @action(description="Cancel", permissions=["cancel"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        verbs.cancel(request, verbs.chosen(request, queryset)).tell(request)

    @action(description="Retry from the last checkpoint", permissions=["launch"])
    def retry_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        verbs.again(request, verbs.chosen(request, queryset), services.retry, "retried")[0].tell(request)

    @action(description="Run again, clean", permissions=["launch"])
    def rerun_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        verbs.again(request, verbs.chosen(request, queryset), services.rerun, "run again")[0].tell(request)

    @action(description="Launch", permissions=["launch"], url_path="go-launch", icon="rocket_launch")
    def go_launch(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:runs_run_launch"))

    # Deleting, without loading what is deleted

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        runs = list(objs)
        active = [f"{run} is {run.status}: cancel it first, or wait for its end" for run in runs if not run.is_final]
        missing = set() if permissions.may_delete(request) else {"run"}
        return [f"{run}, its lines, results and files" for run in runs], {"runs": len(runs)}, missing, active

    def delete_model(self, request: HttpRequest, obj: Run) -> None:
        erasing.erase([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        erasing.erase(list(queryset.values_list("pk", flat=True)))

    # Pages

    def get_urls(self) -> list[URLPattern]:
        def named(route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
            wrapped: URLPattern = path(route, self.admin_site.admin_view(view), name=f"runs_run_{name}")
            return wrapped

        own = [
            named("launch/", self.launch_view, "launch"),
            named("<int:run_id>/live/", require_GET(self.live_view), "live"),
            named("<int:run_id>/cancel/", require_POST(self.cancel_view), "cancel"),
            named("<int:run_id>/retry/", require_POST(self.retry_view), "retry"),
            named("<int:run_id>/rerun/", require_POST(self.rerun_view), "rerun"),
            named("<int:run_id>/line/<int:attempt>.<int:seq>/", require_GET(self.line_view), "line"),
            named("artifact/<int:artifact_id>/", require_GET(self.artifact_view), "artifact"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The record page."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        run = self._visible(request, int(object_id) if object_id.isdecimal() and len(object_id) < 19 else 0)
        attempts = live.attempts_of(run)
        asked = lineview.asked(request.GET)
        shown = lineview.read(run.pk, asked)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(run),
            "original": run,
            "run": run,
            "media": self.media,
            "parts": live.parts(request, run, attempts),
            "page": shown,
            "seen": live.write_seen(shown.seen),
            "is_live": asked.follows and not (run.is_final and page.head(run, attempts).is_complete),
            "levels": [Level(level).label for level in (Level.INFO, Level.WARNING, Level.ERROR)],
            "level": presenting.level_name(asked.wanted.level) if asked.wanted.level else "",
            "sources": Source.choices,
            "facts": page.facts(run),
            "limits": page.limits(run),
            "configuration": page.configuration(run),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "runs/run.html", context)

    def live_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """What is new, for a page that is open."""
        run = self._visible(request, run_id)
        try:
            seen = live.read_seen(request.GET.get("seen", ""))
        except ValueError:
            return JsonResponse({"error": "`seen` must be attempt.seq, comma separated"}, status=400)
        known = frozenset(request.GET.get("known", "").split(","))
        return JsonResponse(live.look(request, run, lineview.asked(request.GET), seen, known))

    def cancel_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        self._visible(request, run_id)
        if not permissions.may_cancel(request):
            raise PermissionDenied
        verbs.cancel(request, [run_id]).tell(request, run_id)
        return HttpResponseRedirect(reverse("admin:runs_run_change", args=[run_id]))

    def retry_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        return self._again(request, run_id, services.retry, "retried")

    def rerun_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        return self._again(request, run_id, services.rerun, "run again")

    def _again(self, request: HttpRequest, run_id: int, verb: Callable[..., Run], word: str) -> HttpResponse:
        self._visible(request, run_id)
        if not permissions.may_launch(request):
            raise PermissionDenied
        outcome, made = verbs.again(request, [run_id], verb, word)
        outcome.tell(request, run_id)
        return HttpResponseRedirect(reverse("admin:runs_run_change", args=[made[0].pk if made else run_id]))

    def line_view(self, request: HttpRequest, run_id: int, attempt: int, seq: int) -> HttpResponse:
        self._visible(request, run_id)
        if attempt >= 2**31 or seq >= 2**63:
            raise Http404
        return downloads.whole_line(get_object_or_404(LogLine, run_id=run_id, attempt=attempt, seq=seq))

    def artifact_view(self, request: HttpRequest, artifact_id: int) -> HttpResponseBase:
        if not permissions.may_view(request):
            raise PermissionDenied
        return downloads.artifact(request, get_object_or_404(Artifact, pk=artifact_id))

    def launch_view(self, request: HttpRequest) -> HttpResponse:
        """Choose an experiment, then say its configuration."""
        target = launching.target(request)
        if not may_launch_this(request, target):
            raise PermissionDenied
        form = launching.LaunchForm(target, request.POST if request.method == "POST" else None) if target else None
        if form and request.method == "POST" and form.is_valid() and (run := form.launch(request)):
            verbs.note(request, run.pk, "Launched")
            messages.success(request, f"Run {run.pk} is launched.")
            return HttpResponseRedirect(reverse("admin:runs_run_change", args=[run.pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": target.title if target else "Launch",
            "media": self.media,
            "target": target,
            "form": form,
            "choices": [] if target else launching.choices(),
            "problems": registry().problems,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "runs/launch.html", context, status=422 if form and form.errors else 200)

    def _visible(self, request: HttpRequest, run_id: int) -> Run:
        """The run, for somebody who may see it."""
        if not permissions.may_view(request):
            raise PermissionDenied
        return get_object_or_404(Run.objects.select_related("instance", "launched_by", "origin"), pk=run_id)


def may_launch_this(request: HttpRequest, target: launching.Target | None) -> bool:
    """Who may launch instances only, may launch those."""
    instance = target is not None and target.instance is not None
    return permissions.may_launch(request) or (instance and request.user.has_perm("experiments.launch_instance"))
