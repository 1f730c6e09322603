"""Admin of schedules: the list, a schedule's page, its form and permissions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from experiments.models import Instance
from runs import services
from runs.models import AuditEntry, Run, Schedule, Slot
from runs.schedules.serializers import next_fires
from runs.states import SlotState, Status
from tests.filling import send, sent_of
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
    assert "Missed or skipped in the last seven days" in page
    assert "2 missed" in page
    assert "only the latest scheduled time is caught up" in page


def test_the_list_says_how_many_it_looked_through(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.admin.schedules.schedules.WARNED_MAX", 1)
    aged(make_schedule(every_s=600), minutes=35)
    make_schedule("other")
    tick()
    assert "Covers the first 1 schedules by name" in text(viewer.get(url("changelist")))


def test_a_page_shows_each_slot_as_a_mark_its_next_fires_and_the_next_change_of_clocks(viewer: Client) -> None:
    schedule = aged(make_schedule(every_s=600, time_zone="Europe/Berlin"), minutes=35)
    tick()
    end_runs()
    tick()
    page = text(viewer.get(url("page", schedule)))
    assert page.count('class="sched-mark sched-missed"') >= 2
    assert "sched-completed sched-caught-up" in page
    assert len(re.findall(r"<tr>\s*<td>", page)) == 10
    assert "the clocks go" in page
    assert "Durations" in page


def test_slots_around_a_change_of_clocks_are_told_to_the_second_where_they_have_seconds(viewer: Client) -> None:
    page = text(viewer.get(url("page", make_schedule(every_s=25, time_zone="Europe/Berlin"))))
    told = re.findall(r"Sun (\d\d:\d\d(?::\d\d)?) CES?T", page.partition("Scheduled times of that day")[2])
    assert len(set(told)) == 12


def test_durations_are_told_with_the_time_that_they_are_of(viewer: Client) -> None:
    schedule = aged(make_schedule(), minutes=2)
    for _ in range(2):
        services.trigger_schedule(schedule.pk, by="ada")
        end_runs()
        tick()
    durations = text(viewer.get(url("page", schedule))).partition("Durations")[2].partition("</section>")[0]
    assert durations.count("data-local") == 2


def test_the_page_and_the_list_call_a_schedule_the_same(viewer: Client) -> None:
    schedule = make_schedule()
    services.trigger_schedule(schedule.pk, by="ada")
    end_runs(Status.FAILED)
    tick()
    for page in (viewer.get(url("changelist")), viewer.get(url("page", schedule))):
        assert "Failing" in text(page)


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
    ("said", "field", "complaint"),
    [
        ({"cron": "61 * * * *"}, "cron", "Invalid minute '61'. Use 0 to 59"),
        ({"cron": ""}, "cron", "for example 30 2 * * MON-FRI"),
        ({"time_zone": "Europe/Berln"}, "time_zone", "did you mean Europe/Berlin"),
        ({"experiment": ""}, "experiment", "Choose either an instance or an experiment"),
        ({"kind": "interval", "every_s": "soon"}, "every_s", "Invalid duration"),
        ({"kind": "interval", "every_s": "1.5s"}, "every_s", "a whole number of seconds"),
        ({"kind": "interval", "every_s": "9" * 400}, "every_s", "Invalid duration"),
        ({"kind": "interval", "every_s": "0"}, "every_s", "The interval must be 1s to 366d"),
        ({"kind": "dates", "dates": "someday"}, "dates", "Invalid date"),
        ({"kind": "dates"}, "dates", "one per line, as 2026-03-29 02:30"),
        ({"starts_at": "soon"}, "starts_at", "Use 2026-03-29 02:30"),
        ({"starts_at": "2026-05-01", "ends_at": "2026-04-01"}, "ends_at", "The end is before the start"),
        ({"ends_at": "0001-01-01"}, "ends_at", "The year must be from 1900"),
        ({"jitter_s": "-5m"}, "jitter_s", "Use 90, 10m or 2h"),
        ({"jitter_s": "99999999d"}, "jitter_s", "Jitter must be 0s to"),
        ({"catch_up_window_s": ""}, "catch_up_window_s", "required"),
        ({"catch_up_window_s": "99999999d"}, "catch_up_window_s", "a window of 0s to 366d"),
        ({"pause_after_failures": "-1"}, "pause_after_failures", "greater than or equal to 0"),
        ({"priority": "99999"}, "priority", "32767"),
        ({"name": "a b"}, "name", "Letters, digits, - and _ only"),
    ],
)
def test_what_is_wrong_stands_at_its_field_alone_and_once(
    operator: Client, said: dict[str, str], field: str, complaint: str
) -> None:
    response = operator.post(url("add"), {**FORM, **said})
    errors = response.context["adminform"].form.errors
    assert {name: len(messages) for name, messages in errors.items()} == {field: 1}
    assert complaint in errors[field][0]
    assert escape(errors[field][0]) in text(response)
    assert not Schedule.objects.exists()


def test_what_stands_in_a_field_of_another_kind_is_no_error(operator: Client) -> None:
    operator.post(url("add"), {**FORM, "every_s": "soon", "dates": "someday"})
    schedule = Schedule.objects.get()
    assert (schedule.cron, schedule.every_s, schedule.dates) == ("30 2 * * MON-FRI", None, [])


def test_a_new_form_holds_the_zone_and_the_window_of_an_hour(operator: Client) -> None:
    page = text(operator.get(url("add")))
    assert 'value="UTC"' in page
    assert 'value="1h"' in page


def test_one_that_will_never_fire_is_said_to_be_so(operator: Client) -> None:
    said = {**FORM, "kind": "dates", "dates": "2020-01-01"}
    assert "It will not launch anything" in text(operator.post(url("add"), said, follow=True))


def test_it_is_deleted_with_its_history_and_without_loading_it_and_its_runs_are_kept(
    as_user: Callable[..., Client], django_assert_max_num_queries: Any
) -> None:
    client = as_user(*VIEWER, "runs.delete_schedule")
    schedule = aged(make_schedule(every_s=60, catch_up="none"), minutes=90)
    services.trigger_schedule(schedule.pk, by="ada")
    tick()
    with django_assert_max_num_queries(12):
        page = text(client.get(url("delete", schedule)))
    assert "Its runs are kept" in page
    assert "missed" not in page
    client.post(url("delete", schedule), {"post": "yes"})
    assert (Schedule.objects.count(), Slot.objects.count()) == (0, 0)
    assert Run.objects.get().schedule is None


def test_changed_in_the_form_it_keeps_its_history_and_counts_from_now(operator: Client) -> None:
    schedule = aged(make_schedule("nightly"), seconds=70)
    operator.post(url("change", schedule), FORM)
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.every_s, states(schedule)) == ("30 2 * * MON-FRI", None, [SlotState.LAUNCHED])
    assert database_now() - schedule.planned_at < timedelta(seconds=5)


def test_secrets_and_defaults_of_an_instance_are_not_written_into_its_schedule(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration={"count": 9})
    schedule = make_schedule("nightly", experiment="", instance=instance, configuration={"text": "hi"})
    change = url("change", schedule)
    send(operator, change, sent_of(operator.get(change).content), configuration__text="ho")
    schedule.refresh_from_db()
    assert schedule.configuration == {"text": "ho"}


def test_a_secret_of_an_instance_is_asked_for_by_a_schedule_that_changes_its_model(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="layered", configuration={"token": "hush"})
    schedule = make_schedule("nightly", experiment="", instance=instance, configuration={})
    change = url("change", schedule)
    sent = sent_of(operator.get(change).content)
    wrong = send(operator, change, sent, configuration__epochs="4")
    assert "Enter it again" in text(wrong)
    schedule.refresh_from_db()
    assert schedule.configuration == {}
    send(operator, change, sent, configuration__epochs="4", configuration__token="hush")
    send(operator, change, sent_of(operator.get(change).content), description="unchanged")
    schedule.refresh_from_db()
    own = {"epochs": 4, "token": "hush"}
    assert (schedule.configuration, schedule.description) == ({**instance.configuration, **own}, "unchanged")
    instance.configuration = {"epochs": 50, "shuffle": False, "weights": {"added": 1.0}, "token": "other"}
    instance.save()
    operator.post(url("trigger", schedule))
    assert Run.objects.get().configuration == schedule.configuration


def test_the_audit_log_has_what_was_done_with_a_schedule_and_from_where(
    as_user: Callable[..., Client], woken: list[str]
) -> None:
    superuser = as_user(is_superuser=True)
    superuser.post(url("add"), FORM, REMOTE_ADDR="192.0.2.7")
    schedule = Schedule.objects.get()
    for verb, data in (("pause", {}), ("change", FORM | {"cron": "0 3 * * *"}), ("delete", {"post": "yes"})):
        superuser.post(url(verb, schedule), data, REMOTE_ADDR="192.0.2.7")
    entries = AuditEntry.objects.filter(kind="schedule", address="192.0.2.7").order_by("pk")
    assert [entry.act for entry in entries] == ["add", "pause", "change", "delete"]
    assert "cron" in entries[2].details["fields"]


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
    assert "was still active" in page


def test_a_backfill_is_shown_before_it_is_done(operator: Client) -> None:
    schedule, now = make_schedule(every_s=3600), database_now()
    span = {"from": f"{now - timedelta(hours=3):%Y-%m-%d %H:%M}", "to": f"{now - timedelta(minutes=5):%Y-%m-%d %H:%M}"}
    page = text(operator.get(url("page", schedule), span))
    assert page.count("not in the history") == 3
    assert not schedule.slots.exists()
    operator.post(url("backfill", schedule), span)
    assert SlotState.WAITING in states(schedule)


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ({"from": "never", "to": "2026-03-31"}, "'never' is not a valid time. Use 2026-03-29 02:30."),
        ({"from": "2026-03-31", "to": ""}, "Enter both ends"),
        ({"from": "2026-03-31", "to": "2026-03-01"}, "The end is before the start"),
    ],
)
def test_a_time_that_cannot_be_backfilled_is_refused_in_a_sentence(
    operator: Client, span: dict[str, str], complaint: str
) -> None:
    schedule = make_schedule()
    assert escape(complaint) in text(operator.get(url("page", schedule), span))
    assert escape(complaint) in text(operator.post(url("backfill", schedule), span, follow=True))
    assert not schedule.slots.exists()


def test_a_timetable_is_said_in_words_as_one_types(operator: Client) -> None:
    said = {"kind": "cron", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    answer = operator.get(url("preview"), said).json()
    assert answer["words"] == "At 02:30 every day, Europe/Berlin"
    assert len(answer["next"]) == 10
    assert "the clocks go" in answer["change"]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"cron": "61 2 * * *"}, "cron"),
        ({"kind": "interval", "every_s": "soon"}, "every_s"),
        ({"starts_at": "soon"}, "starts_at"),
        ({"ends_at": "0001-01-01"}, "ends_at"),
        ({"jitter_s": "99999999999999999d"}, "jitter_s"),
        ({"kind": "weekly"}, "kind"),
        ({"time_zone": ""}, "time_zone"),
    ],
)
def test_what_is_wrong_is_told_as_one_types_with_its_field(operator: Client, said: dict[str, str], field: str) -> None:
    right = {"kind": "cron", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    found = operator.get(url("preview"), right | said).json()
    assert found.keys() == {"field", "problem"}
    assert found["field"] == field


def test_the_form_tells_the_very_fires_that_the_page_tells(operator: Client) -> None:
    schedule = make_schedule("jittery", every_s=3600, jitter_s=600)
    said = {"kind": "interval", "every_s": "1h", "time_zone": "UTC", "jitter_s": "10m", "key": str(schedule.pk)}
    told = operator.get(url("preview"), said).json()
    assert [fire["at"] for fire in told["next"]] == [fire.due_at.isoformat() for fire in next_fires(schedule)]
    assert told["words"] == "Every hour, up to 10 minutes later"


def test_a_runs_page_shows_the_schedule_it_came_from(viewer: Client) -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    page = text(viewer.get(Run.objects.get().get_absolute_url()))
    assert f'href="{schedule.get_absolute_url()}"' in page


def test_the_home_page_warns_when_the_beat_is_silent(viewer: Client, as_user: Callable[..., Client]) -> None:
    make_schedule()
    home = reverse("admin:index")
    assert "The beat has never checked schedules" in text(viewer.get(home))
    assert "The beat has never checked" not in text(as_user("runs.view_run").get(home))
    tick()
    assert "No beat" not in text(viewer.get(home))


def test_a_silent_beat_and_a_refusal_are_warned_of(viewer: Client) -> None:
    schedule = aged(make_schedule(), seconds=70)
    Schedule.objects.update(experiment="gone")
    assert "The beat has never checked schedules" in text(viewer.get(url("changelist")))
    tick()
    for page in (viewer.get(url("changelist")), viewer.get(url("page", schedule))):
        assert "There is no experiment" in text(page)
