"""Admin of schedules. Every change goes through `services`, which keeps the history complete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.views.decorators.http import require_GET, require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from experiments.admin import ValidatesOutsideTransactions
from experiments.strict_lists import StrictList
from runs import formatting, services
from runs.admin import permissions
from runs.admin.audit_log import Audited
from runs.admin.schedules import page, preview
from runs.admin.schedules.access import SchedulePermissions
from runs.admin.schedules.forms import ScheduleForm
from runs.exceptions import ScheduleRefused
from runs.ids import row_id
from runs.models import Schedule
from runs.schedules import health, serializers
from runs.schedules.service import Backfilled
from runs.schedules.timetable import find_zone, resolved
from runs.schedules.timetable.zones import zone_names
from runs.states import RAN, SlotState

WARNED_MAX = 1_000
"""Maximum number of schedules that are checked for scheduled times that did not run last week."""
CHIPS = {"Paused": "warning", "Refused": "danger", "Failing": "danger", "Ended": "", "Active": "success"}


@admin.register(Schedule)
class ScheduleAdmin(StrictList, Audited, SchedulePermissions, ModelAdmin, ValidatesOutsideTransactions):
    """Admin of schedules. The list shows which scheduled times of last week did not run, and why."""

    form = ScheduleForm
    list_display = ("title", "chip", "launches", "when", "upcoming", "last_week")
    list_display_links = None
    list_filter = ("kind", "overlap")
    search_fields = ("name", "description", "experiment", "instance_name")
    list_select_related = ("instance",)
    list_per_page = 50
    list_fullwidth = True
    list_before_template = "runs/schedules/before_list.html"
    change_form_before_template = "runs/schedules/preview.html"
    warn_unsaved_form = True
    readonly_fields = ("shown_configuration",)
    actions = ("pause_all", "resume_all")
    fieldsets = (
        (None, {"fields": ("name", "description")}),
        ("Launches", {"fields": ("instance", "experiment", "configuration")}),
        (
            "Timetable",
            {"fields": ("kind", "cron", "every_s", "dates", "time_zone", "starts_at", "ends_at", "jitter_s")},
        ),
        (
            "Overlap and missed runs",
            {"fields": ("overlap", "catch_up", "catch_up_window_s", "pause_after_failures")},
        ),
        ("Limits and queue", {"fields": ("limits", "queue", "priority")}),
    )

    class Media:
        css = {"all": ("runs/run.css", "runs/schedule.css")}
        js = ("runs/schedule.js",)

    # The list

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        schedules = {each.pk: each for each in Schedule.objects.visible_to(request.user).order_by("name")[:WARNED_MAX]}
        weeks = serializers.weeks(schedules)
        context = {
            "health": health.health(request.user),
            "idle": [(schedules[key], week) for key, week in weeks.items() if week.did_not_run],
            "looked_through": len(schedules) if len(schedules) == WARNED_MAX else None,
        }
        answer: HttpResponse = super().changelist_view(request, context | (extra_context or {}))
        return answer

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Set the last week of each schedule of the page."""
        changelist = super().get_changelist_instance(request)
        weeks = serializers.weeks(schedule.pk for schedule in changelist.result_list)
        for schedule in changelist.result_list:
            schedule.week = weeks[schedule.pk]
        return changelist

    @display(description="Schedule", ordering="name")
    def title(self, schedule: Schedule) -> str:
        return format_html('<a class="sched-name" href="{}">{}</a>', schedule.get_absolute_url(), schedule.name)

    @display(description="State", label=CHIPS)
    def chip(self, schedule: Schedule) -> str:
        return serializers.state(schedule)

    @display(description="Launches")
    def launches(self, schedule: Schedule) -> str:
        return schedule.target

    @display(description="Timetable")
    def when(self, schedule: Schedule) -> str:
        return serializers.words(schedule)

    @display(description="Next")
    def upcoming(self, schedule: Schedule) -> str:
        fires = serializers.next_fires(schedule, 1)
        if schedule.is_paused or not fires:
            return formatting.NOTHING
        ago = formatting.age(fires[0].due_at, timezone.now())
        return format_html('<time datetime="{}" data-title>{}</time>', fires[0].due_at.isoformat(), ago)

    @display(description="Last week")
    def last_week(self, schedule: Any) -> str:
        week: serializers.Week = schedule.week
        ran = f"{week.ran:,} ran" + (f", {week.failed:,} failed" if week.failed else "")
        other = ", ".join(f"{count:,} {state.label.lower()}" for state, count in week.did_not_run.items())
        if not other:
            return ran
        return format_html('{}<br><span class="run-why" title="{}">{}</span>', ran, week.why, other)

    # Actions on many

    @action(description="Pause", permissions=["pause"])
    def pause_all(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in self.pausable(request, queryset):
            self._pause(request, schedule)

    @action(description="Resume", permissions=["pause"])
    def resume_all(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in self.pausable(request, queryset):
            self._resume(request, schedule)

    # The form

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        """Show the configuration with masked secrets to users who may not change the schedule."""
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        hidden = {"configuration": "shown_configuration"}
        return tuple(
            (title, {**options, "fields": tuple(hidden.get(name, name) for name in options["fields"])})
            for title, options in self.fieldsets
        )

    @display(description="Configuration")
    def shown_configuration(self, schedule: Schedule) -> str:
        text = formatting.pretty(serializers.shown_configuration(schedule))
        return format_html('<pre class="athanor-code">{}</pre>', text)

    def get_form(self, request: HttpRequest, obj: Schedule | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.user = request.user
        return form

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context |= {"zones": zone_names(), "preview_url": reverse("admin:runs_schedule_preview")}
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}  # the page is what one wants
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Schedule, form: ScheduleForm, change: bool) -> None:
        owner: Any = request.user
        if change:
            services.change_schedule(obj.pk, owner=owner, **form.columns())
        else:
            obj.pk = services.create_schedule(owner=owner, **form.columns()).pk

    def response_add(self, request: HttpRequest, obj: Schedule, post_url_continue: str | None = None) -> HttpResponse:
        return self._saved(request, obj, "created")

    def response_change(self, request: HttpRequest, obj: Schedule) -> HttpResponse:
        return self._saved(request, obj, "changed. It launches runs in your name")

    def _saved(self, request: HttpRequest, schedule: Schedule, what: str) -> HttpResponse:
        messages.success(request, f"Schedule {schedule.name} {what}.")
        schedule.refresh_from_db()
        if not serializers.next_fires(schedule, 1):
            messages.warning(
                request,
                "It will not launch anything: all scheduled times have passed. A backfill can still launch them.",
            )
        return HttpResponseRedirect(schedule.get_absolute_url())

    # Deleting, without loading the history

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        schedules = list(objs)
        missing = set() if all(self.has_delete_permission(request, each) for each in schedules) else {"schedule"}
        descriptions = [f"{schedule} and its history. Its runs are kept." for schedule in schedules]
        return descriptions, {"schedules": len(schedules)}, missing, []

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        services.delete_schedule(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for pk in queryset.values_list("pk", flat=True):
            services.delete_schedule(pk)

    # Pages

    def get_urls(self) -> list[URLPattern]:
        def named(route: str, view: Callable[..., HttpResponseBase], name: str) -> Any:
            return path(route, self.admin_site.admin_view(view), name=f"runs_schedule_{name}")

        own = [
            named("preview/", require_GET(self.preview_view), "preview"),
            named("<int:pk>/", require_GET(self.page_view), "page"),
            named("<int:pk>/pause/", require_POST(self.pause_view), "pause"),
            named("<int:pk>/resume/", require_POST(self.resume_view), "resume"),
            named("<int:pk>/trigger/", require_POST(self.trigger_view), "trigger"),
            named("<int:pk>/backfill/", require_POST(self.backfill_view), "backfill"),
        ]
        return [*own, *super().get_urls()]

    def page_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        schedule = self._visible(request, pk)
        context = {
            **self.admin_site.each_context(request),
            "frame": "runs/schedules/bare.html" if "bare" in request.GET else "admin/base_site.html",
            "opts": self.opts,
            "title": schedule.name,
            "original": schedule,
            "media": self.media,
            "may_change": self.has_change_permission(request, schedule),
            "may_delete": self.has_delete_permission(request, schedule),
            "may_pause": self.has_pause_permission(request),
            "may_trigger": self.has_trigger_permission(request),
            "asked": request.GET,
            "backfill": self._dry_run(request, schedule),
            **page.context(schedule),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "runs/schedules/page.html", context)

    def preview_view(self, request: HttpRequest) -> JsonResponse:
        """Describe the timetable of the query, with its next fires; or return `field` and `problem`."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        pk = row_id(request.GET.get("key"))
        schedule = None if pk is None else Schedule.objects.visible_to(request.user).filter(pk=pk).first()
        return JsonResponse(preview.answer(request.GET.dict(), schedule))

    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._verb(request, pk, self.has_pause_permission(request), self._pause)

    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._verb(request, pk, self.has_pause_permission(request), self._resume)

    def trigger_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._verb(request, pk, self.has_trigger_permission(request), self._trigger)

    def backfill_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._verb(request, pk, self.has_trigger_permission(request), self._backfill)

    def _verb(
        self, request: HttpRequest, pk: int, is_permitted: bool, verb: Callable[[HttpRequest, Schedule], None]
    ) -> HttpResponse:
        schedule = self._visible(request, pk)
        if not (is_permitted and permissions.may_schedule(request, schedule, "launch")):
            raise PermissionDenied
        verb(request, schedule)
        return HttpResponseRedirect(schedule.get_absolute_url())

    def _visible(self, request: HttpRequest, pk: int) -> Schedule:
        if not self.has_view_permission(request):
            raise PermissionDenied
        schedules = Schedule.objects.visible_to(request.user)
        return get_object_or_404(schedules.select_related("instance", "owner"), pk=pk)

    # What the buttons do

    def _pause(self, request: HttpRequest, schedule: Schedule) -> None:
        services.pause_schedule(schedule.pk, by=request.user.get_username())
        messages.success(request, f"Schedule {schedule.name} paused.")

    def _resume(self, request: HttpRequest, schedule: Schedule) -> None:
        services.resume_schedule(schedule.pk, by=request.user.get_username())
        messages.success(request, f"Schedule {schedule.name} resumed.")

    def _trigger(self, request: HttpRequest, schedule: Schedule) -> None:
        user: Any = request.user
        anyway = request.POST.get("anyway") == "1"
        try:
            row = services.trigger_schedule(schedule.pk, by=user.get_username(), actor=user, anyway=anyway)
        except ScheduleRefused as error:
            messages.error(request, Truncator(str(error)).chars(500))
            return
        good = row.state in RAN | {SlotState.WAITING}
        messages.add_message(request, messages.SUCCESS if good else messages.WARNING, serializers.row_words(row))

    def _backfill(self, request: HttpRequest, schedule: Schedule) -> None:
        by = request.user.get_username()
        try:
            start, end = requested_span(request.POST, schedule)
            slots = services.backfill_schedule(schedule.pk, start, end, by=by)
        except (ScheduleRefused, ValueError) as error:
            messages.error(request, Truncator(str(error)).chars(500))
            return
        messages.success(request, f"{sum(each.is_taken for each in slots):,} runs will be launched one after another.")

    def _dry_run(self, request: HttpRequest, schedule: Schedule) -> list[Backfilled] | None:
        if not request.GET.get("from") or not self.has_trigger_permission(request):
            return None
        try:
            start, end = requested_span(request.GET, schedule)
            return services.backfill_schedule(schedule.pk, start, end, by="", dry_run=True)
        except (ScheduleRefused, ValueError) as error:
            messages.error(request, Truncator(str(error)).chars(500))
            return None


def requested_span(query: Any, schedule: Schedule) -> tuple[datetime, datetime]:
    """Parse `from` and `to` in the schedule's zone. A date without a time is its whole day. Raises ValueError with a
    message for people.
    """
    zone = find_zone(schedule.time_zone)
    start, end = (_entered_time(query.get(name, "").strip()) for name in ("from", "to"))
    if len(query.get("to", "").strip()) == len("2026-03-29"):
        end += timedelta(days=1) - timedelta(microseconds=1)
    return resolved(start, zone), resolved(end, zone)


def _entered_time(text: str) -> datetime:
    if not text:
        raise ValueError("Enter both ends, for example 2026-03-01 and 2026-03-31.")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is not a valid time. Use 2026-03-29 02:30.") from error
