"""Form of a schedule: generated for its experiment, stores the differences, shows all errors at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from runs.admin.schedules.forms import difference
from runs.models import Schedule
from tests.filling import Sent, send, sent_of
from tests.integration.admin.test_schedules import OPERATOR
from tests.schedules import make_schedule

pytestmark = pytest.mark.django_db

ADD = "admin:runs_schedule_add"
PLAIN = {"name": "nightly", "cron": "30 2 * * *", "time_zone": "UTC"}


@pytest.fixture
def operator(as_user: Callable[..., Client], woken: list[str]) -> Client:
    return as_user(*OPERATOR)


def drawn(client: Client, **chosen: str) -> Sent:
    """Return the data that the browser sends of the form after a choice in it."""
    url = reverse(ADD)
    page = send(client, url, sent_of(client.get(url).content), **PLAIN, **chosen, **{"!do": "show"})
    assert page.status_code == 200
    assert not page.context["errors"]
    return sent_of(page.content)


def test_without_a_choice_there_is_nothing_to_fill_in(operator: Client) -> None:
    page = operator.get(reverse(ADD))
    assert not any(name.startswith("configuration.") for name in sent_of(page.content))
    assert "Choose an instance or an experiment" in page.content.decode()


def test_a_chosen_experiment_has_its_own_form(operator: Client) -> None:
    sent = drawn(operator, experiment="scripted")
    assert sent["configuration.count"] == ["3"]
    assert "configuration!json" not in sent


def test_only_what_was_changed_is_stored(operator: Client) -> None:
    sent = drawn(operator, experiment="scripted")
    send(operator, reverse(ADD), sent, configuration__count="7", limits__timeout_s="10m")
    schedule = Schedule.objects.get()
    assert (schedule.configuration, schedule.limits) == ({"count": 7}, {"timeout_s": 600.0})


def test_of_an_instance_its_values_are_shown_and_only_the_others_are_stored(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration={"count": 9, "text": "a"})
    sent = drawn(operator, instance=str(instance.pk))
    assert sent["configuration.count"] == ["9"]
    send(operator, reverse(ADD), sent, configuration__text="b")
    assert Schedule.objects.get().configuration == {"text": "b"}
    page = sent_of(operator.get(reverse("admin:runs_schedule_change", args=[Schedule.objects.get().pk])).content)
    assert (page["configuration.count"], page["configuration.text"]) == (["9"], ["b"])


def test_a_form_that_was_drawn_for_something_else_is_drawn_again_and_not_saved(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration={"count": 9})
    sent = drawn(operator, experiment="scripted")
    page = send(operator, reverse(ADD), sent, experiment="", instance=str(instance.pk), configuration__count="7")
    assert sent_of(page.content)["configuration.count"] == ["9"]
    assert not Schedule.objects.exists()


def test_all_errors_are_shown_at_once(operator: Client) -> None:
    sent = drawn(operator, experiment="scripted")
    wrong: dict[str, Any] = {
        "name": "a b",
        "cron": "61 * * * *",
        "time_zone": "Europe/Berln",
        "jitter_s": "soon",
        "catch_up_window_s": "",
        "queue": "system",
        "configuration__count": "many",
        "limits__timeout_s": "soon",
    }
    page = send(operator, reverse(ADD), sent, **wrong)
    errors = page.context["adminform"].form.errors
    fields = {"name", "cron", "time_zone", "jitter_s", "catch_up_window_s", "configuration", "limits"}
    assert fields <= set(errors)
    assert "Input should be a valid integer" in page.content.decode()
    assert not Schedule.objects.exists()


def test_what_could_not_be_launched_is_said_beside_other_errors(operator: Client) -> None:
    sent = drawn(operator, experiment="scripted")
    page = send(operator, reverse(ADD), sent, name="a b", queue="system")
    assert {"name", "queue"} <= set(page.context["adminform"].form.errors)


def test_a_schedule_is_saved_again_as_it_was(operator: Client) -> None:
    schedule = make_schedule(configuration={"count": 5}, limits={"timeout_s": 60.0})
    url = reverse("admin:runs_schedule_change", args=[schedule.pk])
    send(operator, url, sent_of(operator.get(url).content))
    schedule.refresh_from_db()
    assert (schedule.configuration, schedule.limits) == ({"count": 5}, {"timeout_s": 60.0})


@pytest.mark.parametrize(
    ("configuration", "base", "different"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1.0}, {"a": 1}, {"a": 1.0}),
        ({"a": True}, {"a": 1}, {"a": True}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
        ({"a": None}, {}, {"a": None}),
        ({"a": {}}, {"a": {"b": 1}}, {}),
    ],
)
def test_the_difference_is_what_has_to_be_stored(
    configuration: dict[str, Any], base: dict[str, Any], different: dict[str, Any]
) -> None:
    assert difference(configuration, base) == different
