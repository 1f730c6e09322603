"""Pages and answers about one run. Each checks permissions first; changes require POST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from runs import audit, formatting, services
from runs.admin import actions, downloads, live, log_view, permissions
from runs.admin.charts import series
from runs.admin.run_page import about
from runs.admin.run_page.head import is_all_stored
from runs.admin.run_page.outcome import INLINE_IMAGES
from runs.ids import row_id
from runs.lines import curves, following
from runs.models import Artifact, LogLine, Run
from runs.states import Act, Level, Source

LEVELS = (Level.INFO, Level.WARNING, Level.ERROR)
INSPECT_S = 4.0


class RunPages:
    """Mixin of RunAdmin."""

    admin_site: Any
    opts: Any
    media: Any

    def page_urls(self) -> list[URLPattern]:
        def named(route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
            wrapped: URLPattern = path(route, self.admin_site.admin_view(view), name=f"runs_run_{name}")
            return wrapped

        return [
            named("<int:run_id>/live/", require_GET(self.live_view), "live"),
            named("<int:run_id>/lines/", require_GET(self.lines_view), "lines"),
            named("<int:run_id>/metrics/", require_GET(self.metrics_view), "metrics"),
            named("<int:run_id>/download.<slug:form>", require_GET(self.download_view), "download"),
            named("<int:run_id>/cancel/", require_POST(self.cancel_view), "cancel"),
            named("<int:run_id>/retry/", require_POST(self.retry_view), "retry"),
            named("<int:run_id>/rerun/", require_POST(self.rerun_view), "rerun"),
            named("<int:run_id>/reproduce/", require_POST(self.reproduce_view), "reproduce"),
            named("<int:run_id>/inspect/", require_POST(self.inspect_view), "inspect"),
            named("<int:run_id>/line/<int:attempt>.<int:seq>/", require_GET(self.line_view), "line"),
            named("artifact/<int:artifact_id>/", require_GET(self.artifact_view), "artifact"),
        ]

    # Pages

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer the run page."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        run = self.visible(request, row_id(object_id) or 0)
        attempts = live.attempts_of(run)
        query = log_view.parse(request.GET, run)
        results = dict(following.marks(run.pk, curves.Follower.column).upto)  # before the results are read
        parts = live.parts(request, run, attempts)
        shown = log_view.read(run.pk, query)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(run),
            "original": run,
            "run": run,
            "media": self.media,
            "parts": parts,
            "page": shown,
            "empty": shown.empty(is_final=run.is_final),
            "at": f"{following.write(shown.seen)}/{following.write(results)}",
            "is_live": not (run.is_final and is_all_stored(attempts)),
            "levels": [level.label for level in LEVELS],
            "level": formatting.level_name(query.wanted.level) if query.wanted.level else "",
            "sources": Source.choices,
            "limits": about.limits(run),
            "configuration": about.configuration(run),
            "command": about.command(run, attempts),
            "may_launch": permissions.may_launch(request, run),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "runs/run.html", context)

    def live_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Answer a poll of an open page."""
        run = self.visible(request, run_id)
        try:
            seen = following.read(request.GET.get("seen", "").partition("/")[0])
        except ValueError:
            return JsonResponse({"error": "Invalid `seen`. Use attempt:seq, separated by commas."}, status=400)
        known = frozenset(request.GET.get("known", "").split(","))
        limit = 0 if request.GET.get("only") == "parts" else live.LOOK_LINES
        return JsonResponse(live.look(request, run, log_view.parse(request.GET, run), seen, known, limit))

    def lines_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Answer an open page with lines from any place."""
        run = self.visible(request, run_id)
        lines_page = log_view.read(run.pk, log_view.parse(request.GET, run))
        ends = [f"{line.attempt}.{line.seq}" for line in (*lines_page.lines[:1], *lines_page.lines[-1:])]
        around = lines_page.query.around
        return JsonResponse(
            {
                "html": lines_page.html,
                "ends": ends,
                "links": lines_page.links,
                "notice": lines_page.notice,
                "problem": lines_page.query.problem,
                "matches": lines_page.matches,
                "empty": lines_page.empty(is_final=run.is_final),
                "target": str(around) if around else "",
                "lines": following.write(lines_page.seen),
            }
        )

    def metrics_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Return the points of all metrics, for charts."""
        run = self.visible(request, run_id)
        results = following.write(dict(following.marks(run.pk, curves.Follower.column).upto))
        metrics, _ = curves.read(run.pk)
        return JsonResponse({"curves": [series(curve) for curve in metrics], "results": results})

    def download_view(self, request: HttpRequest, run_id: int, form: str) -> HttpResponseBase:
        """Send all matching lines as text or JSON lines."""
        run = self.visible(request, run_id)
        answer = downloads.lines(request, run, form, log_view.parse(request.GET, run).wanted)
        audit.record(Act.DOWNLOAD, run, lines=form)
        return answer

    def line_view(self, request: HttpRequest, run_id: int, attempt: int, seq: int) -> HttpResponse:
        self.visible(request, run_id)
        if attempt >= 2**31 or seq >= 2**63:
            raise Http404
        return downloads.whole_line(get_object_or_404(LogLine, run_id=run_id, attempt=attempt, seq=seq))

    def artifact_view(self, request: HttpRequest, artifact_id: int) -> HttpResponseBase:
        row = get_object_or_404(Artifact, pk=artifact_id)
        self.visible(request, row.run_id)
        answer = downloads.artifact(request, row)
        if row.content_type not in INLINE_IMAGES:  # these are part of the run's page
            audit.record(Act.DOWNLOAD, row.run, artifact=row.name)
        return answer

    # Actions

    def cancel_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        if not permissions.may_cancel(request, self.visible(request, run_id)):
            raise PermissionDenied
        actions.cancel(request, [run_id]).show(request, run_id)
        return self._to(run_id)

    def retry_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        return self._again(request, run_id, services.retry, "retried")

    def rerun_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        return self._again(request, run_id, services.rerun, "rerun")

    def reproduce_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        return self._again(request, run_id, services.reproduce, "reproduced")

    def inspect_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Capture stack traces, which are stored with the attempt."""
        if not permissions.may_inspect(request, self.visible(request, run_id)):
            raise PermissionDenied
        actions.inspect(request, run_id, INSPECT_S)
        return HttpResponseRedirect(reverse("admin:runs_run_change", args=[run_id]) + "#stack-trace")

    def _again(self, request: HttpRequest, run_id: int, verb: Callable[..., Run], word: str) -> HttpResponse:
        if not permissions.may_launch(request, self.visible(request, run_id)):
            raise PermissionDenied
        outcome, made = actions.again(request, [run_id], verb, word)
        outcome.show(request, run_id)
        return self._to(made[0].pk if made else run_id)

    def _to(self, run_id: int) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:runs_run_change", args=[run_id]))

    def visible(self, request: HttpRequest, run_id: int) -> Run:
        """Return the run, if the user may see it."""
        permissions.must_view(request)
        runs = Run.objects.visible_to(request.user)
        return get_object_or_404(runs.select_related("instance", "launched_by", "origin", "schedule"), pk=run_id)
