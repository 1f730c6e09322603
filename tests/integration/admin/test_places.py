"""Each page says at its top where one is: the list it belongs to, the object, and what is done there."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from tests.factories import make_worker
from tests.pages import HOSTILE, finished, page_of
from tests.schedules import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("buffer")]

CRUMB = re.compile(r'class="crumb">(.*?)</')


def place(client: Client, name: str, *args: object, query: str = "") -> str:
    answer = client.get(reverse(f"admin:{name}", args=args) + query)
    assert answer.status_code == 200
    return unescape(" / ".join(CRUMB.findall(answer.content.decode())))


@pytest.mark.parametrize(
    ("name", "query", "told"),
    [
        ("index", "", "Home"),
        ("runs_run_changelist", "", "Runs"),
        ("runs_run_changelist", "?status__exact=failed", "Runs"),
        ("runs_run_launch", "", "Runs / Launch"),
        ("runs_run_launch", "?experiment=scripted", "Runs / Launch"),
        ("runs_worker_changelist", "", "Workers"),
        ("runs_schedule_changelist", "", "Schedules"),
        ("runs_schedule_add", "", "Schedules / Add"),
        ("experiments_instance_changelist", "", "Instances"),
        ("experiments_instance_add", "", "Instances / Add"),
        ("experiments_instance_add", "?experiment=scripted", "Instances / Add"),
        ("auth_user_changelist", "", "Users"),
    ],
)
def test_a_page_says_where_one_is(admin_client: Client, name: str, query: str, told: str) -> None:
    assert place(admin_client, name, query=query) == told


def test_pages_of_a_run_name_it(admin_client: Client) -> None:
    run, other = finished(name="one"), finished(name="two")
    assert place(admin_client, "runs_run_change", run.pk) == f"Runs / {run}"
    assert place(admin_client, "runs_run_delete", run.pk) == f"Runs / {run} / Delete"
    assert place(admin_client, "runs_run_history", run.pk) == f"Runs / {run} / History"
    assert place(admin_client, "runs_run_launch", query=f"?run={run.pk}") == "Runs / Launch"
    assert place(admin_client, "runs_run_compare", query=f"?runs={run.pk},{other.pk}") == "Runs / Compare"


def test_names_that_people_gave_stay_as_they_are_and_are_data(admin_client: Client) -> None:
    instance = Instance.objects.create(name="wide-net", experiment="scripted")
    assert place(admin_client, "experiments_instance_change", instance.pk) == "Instances / wide-net"
    run = finished(name=HOSTILE[:190])
    assert "alert(1)</script>" not in admin_client.get(page_of(run)).content.decode()


def test_a_schedule_leads_back_to_its_page(admin_client: Client) -> None:
    schedule = make_schedule("nightly")
    assert place(admin_client, "runs_schedule_page", schedule.pk) == "Schedules / nightly"
    page = admin_client.get(reverse("admin:runs_schedule_change", args=[schedule.pk])).content.decode()
    assert f'<a href="{schedule.get_absolute_url()}" class="crumb">nightly</a>' in page


def test_a_worker_is_named(admin_client: Client) -> None:
    worker = make_worker()
    assert place(admin_client, "runs_worker_change", worker.pk) == f"Workers / {worker}"
