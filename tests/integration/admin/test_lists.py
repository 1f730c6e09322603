"""Common behaviour of lists and plain pages: no needless counts, and different texts for no rows and no matches."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import make_run, make_worker
from tests.pages import page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("buffer")]


def shown(client: Client, name: str, query: str = "") -> str:
    return client.get(reverse(f"admin:{name}") + query).content.decode()


@pytest.mark.parametrize("name", ["runs_run_changelist", "django_celery_results_taskresult_changelist"])
def test_nobody_can_have_a_big_table_counted_for_each_choice_of_a_filter(admin_client: Client, name: str) -> None:
    make_run()
    with CaptureQueriesContext(connection) as asked:
        content = shown(admin_client, name, "?_facets=True")
    assert not [query["sql"] for query in asked if "COUNT(" in query["sql"]]
    assert "Show counts" not in content


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("runs_run_changelist", "runs"),
        ("runs_worker_changelist", "workers"),
        ("runs_schedule_changelist", "schedules"),
        ("experiments_instance_changelist", "instances"),
    ],
)
def test_there_are_none_is_told_apart_from_none_that_match(admin_client: Client, name: str, plural: str) -> None:
    empty = shown(admin_client, name)
    assert f"There are no {plural} yet." in empty
    assert "0 results" not in empty
    assert f"No {plural} match." in shown(admin_client, name, "?q=nothing-like-it")


def test_a_run_that_nobody_launched_by_name_tells_the_way_only(admin_client: Client) -> None:
    content = admin_client.get(page_of(make_run(launched_via="shell"))).content.decode()
    assert "<dt>Via</dt><dd>shell</dd>" in content
    assert "<dt>By</dt>" not in content


def test_a_worker_is_told_in_words_and_leads_to_its_runs(admin_client: Client) -> None:
    worker = make_worker(queues=["runs", "gpu"])
    content = admin_client.get(reverse("admin:runs_worker_change", args=[worker.pk])).content.decode()
    assert "runs, gpu" in content
    assert f"{worker.started_at:%Y-%m-%d %H:%M:}" in content
    assert f'href="{reverse("admin:runs_run_changelist")}?worker={worker.pk}"' in content
