"""Users with `launch_instance` launch stored instances exactly as they are: each way around it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from runs import services
from runs.exceptions import ScheduleRefused
from runs.models import Run, Schedule
from tests.pages import finished, page_of
from tests.schedules import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken"), pytest.mark.any_database]

LAUNCH = reverse("admin:runs_run_launch")
STORED: dict[str, Any] = {
    "configuration": {"behaviour": "ok", "text": "as stored"},
    "limits": {"timeout_s": 60.0},
    "queue": "gpu",
    "priority": 3,
    "tags": ["stored"],
}


@pytest.fixture
def instance() -> Instance:
    return Instance.objects.create(name="mine", experiment="scripted", **STORED)


@pytest.fixture
def starter(as_user: Callable[..., Client]) -> Client:
    may = ("runs.view_run", "experiments.view_instance", "experiments.launch_instance")
    return as_user(*may, "runs.add_schedule", "runs.change_schedule", "runs.view_schedule")


def test_the_page_shows_the_instance_and_launches_it_as_it_is(starter: Client, instance: Instance) -> None:
    url = f"{LAUNCH}?instance={instance.pk}&text=other&queue=cpu&limits.timeout_s=1"
    page = starter.get(url).content.decode()
    assert "as stored" in page
    assert "The values of the link are not used" in page
    assert 'name="configuration' not in page
    assert starter.post(url, {"!do": "launch"}).status_code == 302
    run = Run.objects.get()
    assert (run.configuration["text"], run.limits["timeout_s"], run.tags) == ("as stored", 60.0, ["stored"])
    assert (run.queue, run.priority, run.launched_via) == ("gpu", 3, "admin")


@pytest.mark.parametrize(
    "value",
    [
        {"configuration__text": "other"},
        {"configuration": "{}"},
        {"limits__timeout_s": "1"},
        {"queue": "cpu"},
        {"priority": "9"},
        {"tags": "other"},
        {"seed": "1"},
        {"name": "other"},
        {"!do": "save", "name": "other"},
    ],
)
def test_posted_values_are_refused(starter: Client, instance: Instance, value: dict[str, str]) -> None:
    assert starter.post(f"{LAUNCH}?instance={instance.pk}", value).status_code == 403
    assert not Run.objects.exists()
    assert Instance.objects.count() == 1


@pytest.mark.parametrize("query", ["", "?experiment=scripted", "?run={run}", "?run={run}&instance={instance}"])
def test_nothing_but_an_instance_is_launched(starter: Client, instance: Instance, query: str) -> None:
    run = finished()
    url = LAUNCH + query.format(run=run.pk, instance=instance.pk)
    assert {starter.get(url).status_code, starter.post(url).status_code} == {403}
    assert [starter.post(page_of(run, verb)).status_code for verb in ("retry", "rerun", "reproduce")] == [403] * 3
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"configuration": {"text": "other"}}, "configuration"),
        ({"limits": {"timeout_s": 1}}, "limits"),
        ({"queue": "cpu"}, "queue"),
        ({"priority": 9}, "priority"),
    ],
)
def test_a_schedule_changes_nothing_either(
    starter: Client, instance: Instance, own: dict[str, Any], field: str
) -> None:
    owner = get_user_model().objects.get()
    with pytest.raises(ScheduleRefused) as refused:
        make_schedule("nightly", experiment="", instance=instance, owner=owner, **own)
    assert field in refused.value.problems
    schedule = make_schedule("nightly", experiment="", instance=instance, owner=owner)
    with pytest.raises(ScheduleRefused):
        services.change_schedule(schedule.pk, owner=owner, **own)
    Schedule.objects.filter(pk=schedule.pk).update(**own)  # as before an update of Athanor
    assert "only launch instances unchanged" in services.trigger_schedule(schedule.pk, by="somebody").reason
    assert not Run.objects.exists()
