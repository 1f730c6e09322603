"""Hostile query strings and forms: no lookup reveals a secret, no request fails in the server."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from runs import services
from runs.exceptions import ScheduleRefused
from runs.models import Run
from tests.factories import make_run
from tests.integration.admin.test_every_view import VIEWS, address
from tests.pages import finished
from tests.schedules import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

LOOKUPS = [
    ("runs_run", "configuration__token__startswith=s"),
    ("runs_run", "configuration__token__regex=^s"),
    ("runs_run", "configuration__isnull=0"),
    ("runs_run", "error__regex=(a%2B)%2B$"),
    ("runs_run", "error__icontains=a"),
    ("runs_run", "status__gt=a"),
    ("runs_run", "attempts__certificate__has_key=a"),
    ("runs_run", "launched_by__password__startswith=p"),
    ("runs_schedule", "configuration__token__startswith=s"),
    ("runs_schedule", "owner__password__startswith=p"),
    ("runs_schedule", "kind__regex=(a%2B)%2B$"),
    ("experiments_instance", "configuration__token__startswith=s"),
    ("experiments_instance", "experiment__regex=(a%2B)%2B$"),
    ("runs_worker", "host__regex=(a%2B)%2B$"),
    ("django_celery_results_taskresult", "result__contains=a"),
    ("auth_user", "password__startswith=p"),
    ("auth_group", "user__password__startswith=p"),
]
PARAMETERS = [
    "p", "o", "e", "q", "s", "all", "columns", "sort", "tag", "since", "before", "worker", "instance", "by",
    "experiment", "status__exact", "failure_kind__exact", "kind__exact", "overlap__exact", "groups__id__exact",
    "is_staff__exact", "id__exact", "runs", "ids", "key", "keys", "level", "after", "at", "attempt", "seq", "line",
    "text", "from", "to", "page", "name", "bare", "cron", "every_s", "dates", "time_zone", "jitter_s", "starts_at",
    "format", "metric", "term", "app_label", "model_name", "field_name", "_to_field", "_popup", "_changelist_filters",
    "_facets",
]  # fmt: skip
VALUES = [
    "", "0", "-1", "1.5", "1e400", "NaN", "9" * 30, "9" * 5_000, "null", "\0", "\ud800", "²", "٣", "(a+)+$", "[", "{",
    "%", "%s", "{{ 7 }}", "../../etc/passwd", "' OR 1=1 --", "1,2,x", ",", "-", "config.", "-result.a.b", "config.\0",
    "x" * 10_000, "2026-13-45", "0000-00-00", "99999-01-01", "true", "config.a__b", "\u202e",
]  # fmt: skip
THOROUGH = int(os.environ.get("TEST_HOSTILE_REQUESTS", "3"))
"""Number of query strings for each view."""


@pytest.fixture
def root() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.mark.parametrize(("model", "query"), LOOKUPS)
def test_a_lookup_that_no_filter_uses_is_refused(root: Client, model: str, query: str) -> None:
    assert root.get(reverse(f"admin:{model}_changelist") + f"?{query}").status_code == 400


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("runs_run", "status__exact=failed"),
        ("runs_run", "failure_kind__exact=error"),
        ("runs_run", "experiment=scripted&tag=a&since=2026-01-01&columns=config.a&sort=config.a"),
        ("runs_schedule", "kind__exact=cron&overlap__exact=skip"),
        ("experiments_instance", "experiment=scripted"),
        ("django_celery_results_taskresult", "status=SUCCESS"),
        ("auth_user", "is_staff__exact=1&groups__id__exact=1"),
    ],
)
def test_the_lookups_of_the_filters_work(root: Client, model: str, query: str) -> None:
    assert root.get(reverse(f"admin:{model}_changelist") + f"?{query}").status_code == 200


def test_runs_are_not_sorted_by_a_masked_value(root: Client) -> None:
    for token, epochs in (("b", 2), ("a", 1), ("c", 3)):
        make_run(experiment="layered", configuration={"token": token, "epochs": epochs})
        make_run(experiment="gone", configuration={"token": token, "epochs": epochs})
    assert order(root, "config.epochs") == [1, 1, 2, 2, 3, 3]
    assert order(root, "config.token") == order(root, "-config.token") == [3, 3, 1, 1, 2, 2], "the newest first"


def order(client: Client, sort: str) -> list[int]:
    answer = client.get(reverse("admin:runs_run_changelist"), {"sort": sort})
    return [run.configuration["epochs"] for run in answer.context["cl"].result_list]


def test_a_viewer_sees_no_secret_of_a_schedule(as_user: Callable[..., Client]) -> None:
    schedule = make_schedule(experiment="layered", configuration={"token": "hidden from all", "epochs": 7})
    viewer = as_user("runs.view_schedule")
    for page in ("page", "change"):
        text = viewer.get(reverse(f"admin:runs_schedule_{page}", args=[schedule.pk])).content.decode()
        assert "hidden from all" not in text
        assert "epochs" in text


def queries(view: str) -> Iterator[dict[str, str]]:
    chance = random.Random(view)
    for _ in range(THOROUGH):
        yield {name: chance.choice(VALUES) for name in chance.sample(PARAMETERS, chance.choice((1, 1, 2, 5)))}


def encoded(query: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, errors='surrogatepass')}" for name, value in query.items())


@pytest.mark.parametrize("view", [view.split()[1] for view in VIEWS if view.startswith("GET")])
def test_no_query_string_fails_in_the_server(root: Client, view: str) -> None:
    path = address(view).split("?")[0]
    failed = []
    for query in queries(view):
        with transaction.atomic():
            answer = root.get(f"{path}?{encoded(query)}")
            if answer.streaming:
                b"".join(answer)
        if answer.status_code >= 500:
            failed.append(query)
    assert failed == []


FORMS: list[dict[str, Any]] = [
    {"action": "delete_selected", "_selected_action": value} for value in ["x", "9" * 5_000, "-1", "\0", "1.5", "²", ""]
] + [
    {"action": "cancel_runs", "_selected_action": ["x", "1"], "select_across": "yes", "index": "9" * 30},
    {"action": "\0", "index": "-1"},
    {"form-TOTAL_FORMS": "9" * 9, "_save": "1"},
    {"_save": "1", "form-TOTAL_FORMS": "x"},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", ["runs_run", "runs_schedule", "experiments_instance", "runs_worker", "auth_user"])
def test_no_action_fails_in_the_server(root: Client, model: str, form: dict[str, Any]) -> None:
    run = finished()
    assert root.post(reverse(f"admin:{model}_changelist"), form).status_code < 500
    assert Run.objects.filter(pk=run.pk).exists()


ODD = [
    "",
    "\0",
    "\u202e",
    "²",
    "9" * 5_000,
    "x" * 60_000,
    "%s",
    "' OR 1=1 --",
    "\ud800".encode("utf-8", "surrogatepass"),
]


@pytest.mark.parametrize("name", ODD)
def test_no_login_fails_in_the_server(name: str | bytes) -> None:
    form: dict[str, Any] = {"username": name, "password": name, "next": name}
    answer = Client(raise_request_exception=False).post(reverse("admin:login") + "?next=%00", form)
    assert answer.status_code in (200, 400)


WRONG = [0, 5, True, "", "x", [], [1]]


@pytest.mark.parametrize("configuration", [*WRONG, None])
@pytest.mark.parametrize("column", ["configuration", "limits"])
def test_a_schedule_with_a_wrong_column_is_refused(column: str, configuration: Any) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        services.create_schedule("wrong", experiment="scripted", kind="interval", every_s=60, **{column: configuration})
    assert "Must be an object" in refused.value.problems[column]


@pytest.mark.parametrize("configuration", WRONG)
def test_a_schedule_with_a_wrong_configuration_has_pages(root: Client, configuration: Any) -> None:
    schedule = make_schedule("old")
    type(schedule).objects.filter(pk=schedule.pk).update(configuration=configuration)
    for page, arguments in (("changelist", []), ("page", [schedule.pk]), ("change", [schedule.pk])):
        assert root.get(reverse(f"admin:runs_schedule_{page}", args=arguments)).status_code == 200
