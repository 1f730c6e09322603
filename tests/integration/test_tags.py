"""Tags: one limit, validated at each door, so that whatever a run has it can be run again with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from runs import services, wake
from runs.exceptions import LaunchRefused, TagsRefused
from runs.models import Run
from runs.states import Status
from tests.factories import make_run

pytestmark = pytest.mark.django_db

MOST = [f"{number:02}" + "x" * 98 for number in range(50)]
WRONG = {
    "too many": [*MOST, "one more"],
    "too long": ["x" * 101],
    "empty": [" "],
    "comma": ["a,b"],
    "control character": ["a\nb"],
    "no text": [3],
}


@pytest.fixture(autouse=True)
def _nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "workers", lambda queue, count=1: None)


def launch(tags: list[Any]) -> list[str]:
    return list(services.launch("scripted", tags=tags).tags)


def command(tags: list[Any]) -> list[str]:
    call_command("launch_run", "scripted", *(word for tag in tags for word in ("--tag", tag)))
    return list(Run.objects.latest("pk").tags)


def instance(tags: list[Any]) -> list[str]:
    return list(Instance.objects.create(name="mine", experiment="scripted", tags=tags).tags)


def tagged(tags: list[Any]) -> list[str]:
    run = make_run()
    services.tag(run.pk, add=tags)
    return list(Run.objects.get(pk=run.pk).tags)


DOORS = pytest.mark.parametrize("door", [launch, command, instance, tagged])


@DOORS
def test_each_door_takes_fifty_tags_of_a_hundred_characters(door: Callable[[list[Any]], list[str]]) -> None:
    assert door(MOST) == MOST


@DOORS
@pytest.mark.parametrize("tags", WRONG.values(), ids=WRONG.keys())
def test_each_door_refuses_the_same(door: Callable[[list[Any]], list[str]], tags: list[Any]) -> None:
    if door is command and tags == [3]:
        tags = ["x" * 101]

    with pytest.raises((LaunchRefused, CommandError, ValidationError, TagsRefused), match="tag"):
        door(tags)


def test_a_run_with_the_most_tags_can_be_run_again_and_tagged() -> None:
    run = make_run(tags=MOST, configuration=services.launch("scripted").configuration)
    Run.objects.filter(pk=run.pk).update(status=Status.COMPLETED, finished_at=Now())

    again = services.rerun(run.pk)
    assert again.tags == MOST
    with pytest.raises(TagsRefused, match="At most 50 tags are allowed, not 51"):
        services.tag(again.pk, add=["one more"])
    assert services.tag(again.pk, add=["one more"], remove=MOST[:1])
    assert Run.objects.get(pk=again.pk).tags == [*MOST[1:], "one more"]


def test_the_admin_tells_of_tags_that_are_refused(admin_client: Client) -> None:
    run = make_run(tags=["a"])

    answer = admin_client.post(
        reverse("admin:runs_run_changelist"),
        {"action": "tag_runs", "_selected_action": [run.pk], "tags": "x" * 101},
        follow=True,
    )

    assert "Longer than 100 characters" in answer.content.decode()
    assert Run.objects.get(pk=run.pk).tags == ["a"]
