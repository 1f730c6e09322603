"""The admin of schedules: the list, a schedule's page, its form and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from runs.models import Run, Schedule
from runs.states import SlotState
from tests.schedules import aged, database_now, end_runs, make_schedule, states, tick

pytestmark = pytest.mark.django_db

VIEWER = ("runs.view_schedule", "runs.view_run")
OPERATOR = (
    *VIEWER,
    "runs.add_schedule",
    "runs.change_schedule",
    "runs.pause_schedule",
    "runs.trigger_schedule",
    "runs.launch_run",
)
FORM = {
    "name": "nightly",
    "experiment": "scripted",
    "configuration": "{}",
    "kind": "cron",
    "cron": "30 2 * * MON-FRI",
    "time_zone": "Europe/Berlin",
    "overlap": "skip",
    "catch_up": "latest",
    "catch_up_window_s": "1h",
    "pause_after_failures": "0",
    "limits": "{}",
}


@pytest.fixture
def operator(as_user: Callable[..., Client], woken: list[str]) -> Client:
    return as_user(*OPERATOR)


@pytest.fixture
def viewer(as_user: Callable[..., Client]) -> Client:
    return as_user(*VIEWER)


def url(verb: str, schedule: Schedule | None = None) -> str:
    return reverse(f"admin:runs_schedule_{verb}", args=[schedule.pk] if schedule else [])


def text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def test_the_list_says_what_did_not_run_last_week_and_why(viewer: Client) -> None:
    aged(make_schedule(every_s=600), minutes=35)
    tick()
    page = text(viewer.get(url("changelist")))
    assert "Did not run in the last seven days" in page
    assert "2 missed" in page
    assert "only the latest slot is caught up" in page


def test_a_page_shows_each_slot_as_a_mark_its_next_fires_and_the_next_change_of_clocks(viewer: Client) -> None:
    schedule = aged(make_schedule(every_s=600, time_zone="Europe/Berlin"), minutes=35)
    tick()
    end_runs()
    tick()
    page = text(viewer.get(url("page", schedule)))
    assert page.count('class="sched-mark sched-missed"') >= 2
    assert "sched-completed sched-caught-up" in page
    assert page.count("<tr><td>") == 10
    assert "the clocks go" in page
    assert "Durations" in page


def test_who_may_only_look_sees_no_buttons_and_may_push_none(viewer: Client) -> None:
    schedule = make_schedule()
    page = text(viewer.get(url("page", schedule)))
    assert "Trigger now" not in page
    assert ">Pause<" not in page
    for verb in ("pause", "resume", "trigger", "backfill"):
        assert viewer.post(url(verb, schedule)).status_code == 403
    assert viewer.get(url("add")).status_code == 403
    assert viewer.post(url("change", schedule), FORM).status_code == 403


def test_who_may_change_schedules_but_not_launch_may_not_have_things_launched(as_user: Callable[..., Client]) -> None:
    client = as_user("runs.view_schedule", "runs.add_schedule", "runs.change_schedule")
    assert client.post(url("add"), FORM).status_code == 403
    assert not Schedule.objects.exists()


def test_a_stranger_sees_nothing(as_user: Callable[..., Client]) -> None:
    schedule = make_schedule()
    client = as_user()
    assert client.get(url("page", schedule)).status_code == 403
    assert client.get(url("preview")).status_code == 403


def test_verbs_need_a_post(operator: Client) -> None:
    assert operator.get(url("trigger", make_schedule())).status_code == 405


def test_made_in_the_form_it_launches_in_the_name_of_who_made_it(operator: Client) -> None:
    response = operator.post(url("add"), {**FORM, "starts_at": "2026-03-29 02:30", "jitter_s": "5m"})
    schedule = Schedule.objects.get()
    assert response["Location"] == url("page", schedule)
    assert (schedule.jitter_s, schedule.catch_up_window_s, schedule.owner_name) == (300, 3600, schedule.owner.username)  # type: ignore[union-attr]
    assert schedule.starts_at is not None
    assert schedule.starts_at.isoformat() == "2026-03-29T01:00:00+00:00"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"cron": "61 * * * *"}, "The minute is not understood"),
        ({"time_zone": "Europe/Berln"}, "did you mean Europe/Berlin"),
        ({"experiment": ""}, "Name either an instance or an experiment"),
        ({"configuration": '{"count": "many"}'}, "count: Input should be a valid integer"),
        ({"kind": "interval", "every_s": "soon"}, "is no duration"),
        ({"kind": "dates", "dates": "someday"}, "is no date"),
        ({"starts_at": "2026-05-01", "ends_at": "2026-04-01"}, "The end is before the start"),
    ],
)
def test_what_is_wrong_stands_at_its_field(operator: Client, said: dict[str, str], complaint: str) -> None:
    page = text(operator.post(url("add"), {**FORM, **said}))
    assert complaint in page.replace("&#x27;", "'")
    assert not Schedule.objects.exists()


def test_changed_in_the_form_it_keeps_its_ledger_and_counts_from_now(operator: Client) -> None:
    schedule = aged(make_schedule("nightly"), seconds=70)
    operator.post(url("change", schedule), FORM)
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.every_s, states(schedule)) == ("30 2 * * MON-FRI", None, [SlotState.LAUNCHED])
    assert database_now() - schedule.planned_at < timedelta(seconds=5)


def test_secrets_and_defaults_of_an_instance_are_not_written_into_its_schedule(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration={"count": 9})
    schedule = make_schedule("nightly", experiment="", instance=instance, configuration={"text": "hi"})
    page = text(operator.get(url("change", schedule)))
    assert "&quot;text&quot;: &quot;hi&quot;" in page
    assert "&quot;count&quot;" not in page


def test_pause_resume_and_trigger_from_the_page(operator: Client) -> None:
    schedule = make_schedule()
    operator.post(url("pause", schedule))
    schedule.refresh_from_db()
    assert "Paused by user" in schedule.paused_why
    operator.post(url("resume", schedule))
    operator.post(url("trigger", schedule))
    run = Run.objects.get()
    assert (run.launched_by.username, run.schedule) == (schedule.slots.get().by, schedule)  # type: ignore[union-attr]
    page = text(operator.post(url("trigger", schedule), follow=True))
    assert "was still going" in page


def test_a_backfill_is_shown_before_it_is_done(operator: Client) -> None:
    schedule, now = make_schedule(every_s=3600), database_now()
    span = {"from": f"{now - timedelta(hours=3):%Y-%m-%d %H:%M}", "to": f"{now - timedelta(minutes=5):%Y-%m-%d %H:%M}"}
    page = text(operator.get(url("page", schedule), span))
    assert page.count("not in the ledger") == 3
    assert not schedule.slots.exists()
    operator.post(url("backfill", schedule), span)
    assert SlotState.WAITING in states(schedule)
    assert "is no valid" not in text(operator.get(url("page", schedule), {"from": "never", "to": "ever"}))


def test_a_timetable_is_said_in_words_as_one_types(operator: Client) -> None:
    said = {"kind": "cron", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    answer = operator.get(url("preview"), said).json()
    assert answer["words"] == "At 02:30 every day, Europe/Berlin"
    assert len(answer["next"]) == 10
    assert "the clocks go" in answer["change"]
    assert operator.get(url("preview"), said | {"cron": "61 2 * * *"}).json()["field"] == "cron"
    assert "problem" in operator.get(url("preview"), said | {"kind": "interval", "every_s": "soon"}).json()
    assert "problem" in operator.get(url("preview"), said | {"starts_at": "soon"}).json()
    assert "problem" in operator.get(url("preview"), {}).json()


def test_a_runs_page_shows_the_schedule_it_came_from(viewer: Client) -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    page = text(viewer.get(Run.objects.get().get_absolute_url()))
    assert f'href="{schedule.get_absolute_url()}"' in page


def test_the_home_page_warns_when_the_beat_is_silent(viewer: Client, as_user: Callable[..., Client]) -> None:
    make_schedule()
    home = reverse("admin:index")
    assert "No beat has looked after schedules" in text(viewer.get(home))
    assert "No beat has looked" not in text(as_user("runs.view_run").get(home))
    tick()
    assert "No beat" not in text(viewer.get(home))


def test_a_silent_beat_and_a_refusal_are_warned_of(viewer: Client) -> None:
    schedule = aged(make_schedule(), seconds=70)
    Schedule.objects.update(experiment="gone")
    assert "No beat has looked after schedules" in text(viewer.get(url("changelist")))
    tick()
    for page in (viewer.get(url("changelist")), viewer.get(url("page", schedule))):
        assert "There is no experiment" in text(page)
