"""Comparing runs, reproducing one, and the columns that somebody chooses."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from experiments import catalog
from runs import comparison, services
from runs.models import Attempt, Run
from runs.states import Status
from tests.factories import make_attempt, make_run
from tests.output import end_run, store_metric
from tests.pages import HOSTILE, finished, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


def with_result(value: Any, **values: Any) -> Run:
    attempt = make_attempt(make_run(**values))
    return end_run(attempt, summary={"accuracy": value})


def compare(client: Client, *runs: Run, **query: str) -> Any:
    return client.get(reverse("admin:runs_run_compare"), {"runs": ",".join(str(run.pk) for run in runs), **query})


def test_what_differs_comes_first(viewer: Client) -> None:
    runs = [with_result(n, configuration={"same": 1, "deep": {"rate": n}}) for n in (0.1, 0.2)]
    first = compare(viewer, *runs).context["sections"][0]
    assert [(row.name, row.values) for row in first.different] == [("deep.rate", ["0.1", "0.2"])]
    assert [row.name for row in first.same] == ["same"]


def test_a_comparison_takes_twenty_runs_of_those_that_there_are(viewer: Client) -> None:
    runs = [finished() for _ in range(22)]
    assert len(compare(viewer, *runs).context["runs"]) == 20
    assert compare(viewer, runs[0]).status_code == 302
    assert viewer.get(reverse("admin:runs_run_compare"), {"runs": "x,,-1,99999999999999999999"}).status_code == 302


def test_the_table_as_csv_holds_no_formula_and_no_markup(viewer: Client) -> None:
    runs = [with_result(text, name=HOSTILE[:50]) for text in ("=cmd()", HOSTILE)]
    answer = compare(viewer, *runs, format="csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert next(row for row in rows if row[1] == "accuracy")[:4] == ["Logged values", "accuracy", "yes", "'=cmd()"]
    assert answer["Content-Type"].startswith("text/csv")
    assert "<img src=x" not in compare(viewer, *runs).content.decode()


def test_a_secret_is_compared_and_not_shown(viewer: Client) -> None:
    runs = [make_run(experiment="gone", configuration={"api_key": key}) for key in ("hunter1", "hunter2")]
    assert "hunter" not in compare(viewer, *runs).content.decode()


@pytest.mark.parametrize(
    ("old", "new", "tolerances", "says"),
    [
        (0.5, 0.5, {}, "Reproduced run"),
        (0.5, 0.6, {}, "accuracy was 0.5 and is 0.6"),
        (0.5, 0.55, {"accuracy": 0.1}, "Reproduced run"),
        (0.5, 0.7, {"accuracy": 0.1}, "0.1 allowed"),
        (0.5, 0.5, {"missing": 0.0}, "Reproduced run"),
    ],
)
def test_a_reproduction_says_what_drifted(
    monkeypatch: pytest.MonkeyPatch, old: float, new: float, tolerances: dict[str, float], says: str
) -> None:
    entries = catalog.current().entries
    monkeypatch.setitem(entries, "scripted", replace(entries["scripted"], comparable=tolerances))
    origin = with_result(old, configuration={"behaviour": "ok"})
    run = services.reproduce(origin.pk)
    assert (run.seed, run.configuration["behaviour"]) == (origin.seed, "ok")
    verdict = comparison.verdict(run)
    assert verdict is not None
    assert verdict.kind == "open"
    run = end_run(make_attempt(run), summary={"accuracy": new})
    verdict = comparison.verdict(run)
    assert verdict is not None
    assert says in verdict.sentence


def test_a_reproduction_that_failed_reproduces_nothing(viewer: Client) -> None:
    run = services.reproduce(with_result(1, configuration={"behaviour": "ok"}).pk)
    run = end_run(make_attempt(run), Status.FAILED)
    assert "Not reproduced" in viewer.get(page_of(run)).content.decode()


def test_chosen_columns_show_and_sort(viewer: Client) -> None:
    low, high, none = with_result(0.1), with_result(0.9), finished()
    store_metric(Attempt.objects.get(run=none), "accuracy", [0.2, 0.5])
    query = {"columns": "result.accuracy,config.behaviour,nonsense", "sort": "-result.accuracy"}
    answer = viewer.get(reverse("admin:runs_run_changelist"), query)
    content = answer.content.decode()
    assert [run.pk for run in answer.context["cl"].result_list][:2] == [high.pk, low.pk]
    assert "0.9" in content
    assert "0.5" in content


def test_columns_and_order_are_chosen_in_a_form(viewer: Client) -> None:
    with_result(0.1)
    query = {"columns": ["result.accuracy", "config.behaviour"], "sort": "-result.accuracy", "tag": "a"}
    content = " ".join(viewer.get(reverse("admin:runs_run_changelist"), query).content.decode().split())
    for text in (
        '<input type="checkbox" name="columns" value="result.accuracy" checked>',
        '<input type="checkbox" name="columns" value="config.behaviour" checked>',
        '<option value="-result.accuracy" selected>result.accuracy ↓</option>',
        '<option value="config.behaviour" >config.behaviour ↑</option>',
        '<input type="hidden" name="tag" value="a">',
    ):
        assert text in content


@pytest.mark.parametrize("by", ["config.a'b", 'result."', "config.a.b.c", "x", "-", "result.a\x00"])
def test_a_column_that_makes_no_sense_breaks_nothing(viewer: Client, by: str) -> None:
    finished()
    assert viewer.get(reverse("admin:runs_run_changelist"), {"sort": by, "columns": by}).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"tag": "blue"}, True),
        ({"tag": "blu"}, False),
        ({"since": "2020-01-01"}, True),
        ({"since": "2999-01-01"}, False),
        ({"before": "2999-01-01"}, True),
        ({"before": "2020-01-01"}, False),
        ({"since": "nonsense"}, True),
        ({"worker": "0"}, False),
        ({"by": "0"}, False),
    ],
)
def test_more_filters(viewer: Client, query: dict[str, str], found: bool) -> None:
    run = finished(tags=["blue"])
    content = viewer.get(reverse("admin:runs_run_changelist"), query).content.decode()
    assert (page_of(run) in content) is found


def test_the_list_with_columns_takes_a_constant_number_of_queries(viewer: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            query = {"columns": "result.accuracy,config.x", "sort": "result.accuracy", "tag": "a", "by": ""}
            assert viewer.get(reverse("admin:runs_run_changelist"), query).status_code == 200
        assert not [query["sql"] for query in found if "COUNT(" in query["sql"] and "runs_run" in query["sql"]]
        return len(found)

    with_result(1, tags=["a"])
    first = queries()
    for _ in range(8):
        with_result(1, tags=["a"])
    assert queries() == first
