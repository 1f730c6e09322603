"""Home page: many failures hide nothing, and remedies are readable and harmless."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from runs.models import Pulse
from tests.factories import make_run, make_worker
from tests.integration.test_failures import fail
from tests.pages import HOSTILE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("buffer")]


def shown(client: Client) -> str:
    return client.get(reverse("admin:index")).content.decode()


def test_failures_of_one_experiment_are_told_once_and_lead_to_the_rest(viewer: Client) -> None:
    (other,) = fail(experiment="other", ago_s=3600, error="no such file")
    *_, newest = fail(40)
    content = shown(viewer)
    query = "?status__exact=failed&experiment=scripted&failure_kind__exact=error"
    assert f"#{newest.pk}</span>" in content
    assert f"#{other.pk}</span>" in content
    assert "no such file" in content
    assert f'href="{reverse("admin:runs_run_changelist")}{escape(query)}"' in content
    assert ">and 39 more like it</a>" in content
    listed = viewer.get(reverse("admin:runs_run_changelist") + query)
    assert {run.experiment for run in listed.context["cl"].result_list} == {"scripted"}


def test_what_has_no_room_is_in_the_list(viewer: Client) -> None:
    for number in range(17):
        fail(1, experiment=f"one_{number}")
    assert "And 2 more experiments or kinds of failure" in " ".join(shown(viewer).split())


def test_commands_of_a_remedy_are_set_as_code(viewer: Client) -> None:
    content = shown(viewer)
    assert (
        "Start everything with <code>make run</code>, or the beat with <code>celery -A athanor beat</code>." in content
    )
    assert "`" not in content


def test_what_a_problem_names_is_data(viewer: Client) -> None:
    Pulse.objects.create(name="schedules", at=timezone.now())
    make_worker(queues=["runs"], name=f"`{HOSTILE[:60]}", heartbeat_at=timezone.now() - timedelta(minutes=1))
    make_run(queue="`<b>`")
    content = shown(viewer)
    assert "<b>" not in content
    assert "&lt;b&gt;" in content
    assert "alert(1)</script>" not in content
