"""Page that compares runs, with charts and a table as CSV. Its link contains the whole query, so it can be shared."""

from __future__ import annotations

import csv
import io
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET

from runs import audit, comparison, formatting
from runs.admin import permissions
from runs.admin.charts import series
from runs.comparison import RUNS_MAX, Section
from runs.ids import row_ids
from runs.lines import curves
from runs.models import Run
from runs.states import Act


class Comparing:
    """Mixin of RunAdmin."""

    admin_site: Any
    opts: Any
    media: Any

    def compare_urls(self) -> list[URLPattern]:
        view, curves_view = (
            self.admin_site.admin_view(require_GET(each)) for each in (self.compare_view, self.compare_metrics_view)
        )
        return [
            path("compare/", view, name="runs_run_compare"),
            path("compare/metrics/", curves_view, name="runs_run_compare_metrics"),
        ]

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        runs = chosen(request)
        if len(runs) < 2:
            messages.warning(request, "Select at least two runs to compare.")
            return HttpResponseRedirect(reverse("admin:runs_run_changelist"))
        sections = comparison.sections(runs)
        if request.GET.get("format") == "csv":
            audit.record(Act.EXPORT, kind="run", count=len(runs), runs=[run.pk for run in runs], format="csv")
            return as_csv(runs, sections)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Compare {len(runs)} runs",
            "media": self.media,
            "runs": runs,
            "sections": sections,
            "query": "?runs=" + ",".join(str(run.pk) for run in runs),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "runs/compare.html", context)

    def compare_metrics_view(self, request: HttpRequest) -> HttpResponse:
        curves_of_runs = [
            {**series(curve), "run": f"{run.name or run.experiment} #{run.pk}"}
            for run in chosen(request)
            for curve in curves.read(run.pk)[0]
        ]
        return JsonResponse({"curves": curves_of_runs})


def chosen(request: HttpRequest) -> list[Run]:
    """Return the runs of the query, in its order; at most RUNS_MAX."""
    permissions.must_view(request)
    ids = row_ids(request.GET.get("runs", ""), RUNS_MAX)
    runs = Run.objects.visible_to(request.user).in_bulk(ids)
    return [runs[pk] for pk in ids if pk in runs]


def as_csv(runs: list[Run], sections: list[Section]) -> HttpResponse:
    """Write one row for each property and one column for each run."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(["section", "name", "differs", *(f"run {run.pk}" for run in runs)])
    for section in sections:
        for row in (*section.different, *section.same):
            cells = [section.title, row.name, "yes" if row.differs else "no", *row.values]
            writer.writerow([formatting.csv_cell(cell) for cell in cells])
    response = HttpResponse(written.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, "compare.csv") or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    return response
