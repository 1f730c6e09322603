"""Firing on a real database: each slot once, with its row, by every policy. The clock is the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import DatabaseError

from experiments.models import Instance
from runs import deletion, launch_order, services, wake
from runs.models import Run, Schedule, Slot
from runs.schedules import apply, health
from runs.schedules import tick as ticking
from runs.schedules.audit import audit
from runs.states import CatchUp, Overlap, SlotKind, SlotState, Status
from tests.schedules import aged, clock_at, database_now, end_runs, make_schedule, since, states, tick

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def permit(user: object, codename: str) -> None:
    user.user_permissions.add(Permission.objects.get(codename=codename))  # type: ignore[attr-defined]


def test_a_due_slot_is_launched_once_with_its_row_and_its_time() -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    tick()
    row = schedule.slots.get()
    assert (row.state, row.kind) == (SlotState.LAUNCHED, SlotKind.TIMETABLE)
    assert row.run is not None
    assert (row.run.slot, row.run.schedule, row.run.launched_via) == (row.slot, schedule, "schedule")
    assert Run.objects.count() == 1


def test_a_run_has_the_limits_the_queue_and_the_priority_of_its_schedule() -> None:
    limits, configuration = {"timeout_s": 60.0}, {"count": 4}
    schedule = make_schedule(limits=limits, queue="gpu", priority=7, configuration=configuration)
    aged(schedule, seconds=70)
    tick()
    run = schedule.runs.get()
    assert (run.limits["timeout_s"], run.queue, run.priority, run.configuration["count"]) == (60.0, "gpu", 7, 4)


def test_wake_ups_are_sent_for_what_was_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    aged(make_schedule(), seconds=70)
    aged(make_schedule("other", queue="gpu"), seconds=70)
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(wake, "workers", lambda queue, count: sent.append((queue, count)))
    ticking.tick(budget_s=10)
    assert sorted(sent) == [("gpu", 1), ("runs", 1)]


def test_after_a_downtime_the_latest_slot_is_caught_up_and_the_rest_are_missed_with_a_reason() -> None:
    schedule = aged(make_schedule(every_s=600), minutes=35)
    tick()
    assert states(schedule) == [SlotState.MISSED, SlotState.MISSED, SlotState.CAUGHT_UP]
    assert all(row.reason for row in schedule.slots.all())


def test_a_long_downtime_is_entered_in_batches_and_only_its_last_slot_is_caught_up(configure: object) -> None:
    configure(slots_batch=7)  # type: ignore[operator]
    schedule = aged(make_schedule(), minutes=40, seconds=50)
    tick()
    assert states(schedule) == [SlotState.MISSED] * 39 + [SlotState.CAUGHT_UP]


def test_how_a_run_ended_and_how_long_it_took_is_kept_after_the_run_is_deleted() -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    end_runs()
    tick()
    deletion.erase(Run.objects.values_list("pk", flat=True))
    row = schedule.slots.get()
    assert (row.outcome, row.run, row.duration_s is not None) == (Status.COMPLETED, None, True)


@pytest.mark.parametrize("overlap", [Overlap.QUEUE_ONE, Overlap.QUEUE_ALL, Overlap.CANCEL])
def test_what_waits_is_launched_when_the_running_one_has_ended(overlap: Overlap) -> None:
    schedule = make_schedule(overlap=overlap)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        for minute in (1, 2):
            clock.now = NOON + timedelta(minutes=minute)
            tick()
        assert states(schedule) == [SlotState.LAUNCHED, SlotState.WAITING]
        end_runs(Status.CANCELLED)
        tick()
        assert states(schedule) == [SlotState.LAUNCHED, SlotState.LAUNCHED]
        assert Run.objects.count() == 2


def test_the_running_one_is_asked_to_end() -> None:
    schedule = make_schedule(overlap=Overlap.CANCEL)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        clock.now = NOON + timedelta(minutes=1)
        tick()
        clock.now = NOON + timedelta(minutes=2)
        tick()
    run = Run.objects.get()
    assert (run.status, run.cancel_requested_by) == (Status.CANCELLED, f"schedule {schedule.name}")


def test_slots_of_a_pause_are_entered_and_not_caught_up_later() -> None:
    schedule = make_schedule()
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        services.pause_schedule(schedule.pk, by="ada")
        clock.now = NOON + timedelta(minutes=2)
        tick()
        clock.now = NOON + timedelta(minutes=3)
        services.resume_schedule(schedule.pk, by="ada")
        clock.now = NOON + timedelta(minutes=4)
        tick()
    assert states(schedule) == [SlotState.PAUSED] * 3 + [SlotState.LAUNCHED]
    assert "Paused by ada" in schedule.slots.last().reason  # type: ignore[union-attr]  # the oldest


def test_it_pauses_itself_after_failures_in_a_row_and_says_so() -> None:
    schedule = make_schedule(pause_after_failures=2)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        for minute in (1, 2, 3):
            clock.now = NOON + timedelta(minutes=minute)
            tick()
            end_runs(Status.FAILED)
        schedule.refresh_from_db()
        assert states(schedule) == [SlotState.LAUNCHED, SlotState.LAUNCHED, SlotState.PAUSED]
        assert "2 failed runs in a row" in schedule.paused_why
        assert schedule.paused_why in [warning.text for warning in health.health()]
        services.resume_schedule(schedule.pk, by="ada")
        clock.now = NOON + timedelta(minutes=4)
        tick()
        assert states(schedule)[-1] == SlotState.LAUNCHED


def test_success_and_cancel_do_not_count_as_failures() -> None:
    schedule = make_schedule(pause_after_failures=2)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        for minute, status in enumerate((Status.FAILED, Status.COMPLETED, Status.FAILED, Status.CANCELLED), start=1):
            clock.now = NOON + timedelta(minutes=minute)
            tick()
            end_runs(status)
        tick()
    schedule.refresh_from_db()
    assert (schedule.failures, schedule.is_paused) == (1, False)


def test_an_instance_that_is_gone_is_a_refused_row_and_a_warning_until_it_is_made_again() -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted")
    schedule = make_schedule(experiment="", instance=instance)
    instance.delete()
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        clock.now = NOON + timedelta(minutes=1)
        tick()
        assert states(schedule) == [SlotState.REFUSED]
        assert any("mine no longer exists" in warning.text for warning in health.health())
        Instance.objects.create(name="mine", experiment="scripted", configuration={"count": 9})
        clock.now = NOON + timedelta(minutes=2)
        tick()
    schedule.refresh_from_db()
    assert (states(schedule), schedule.trouble) == ([SlotState.REFUSED, SlotState.LAUNCHED], "")
    assert Run.objects.get().configuration["count"] == 9


@pytest.mark.parametrize(
    ("broken", "mended", "why"),
    [
        ({"experiment": "removed"}, {"experiment": "scripted"}, "There is no experiment 'removed'"),
        ({"configuration": {"count": "many"}}, {"configuration": {"count": 2}}, "configuration.count"),
        ({"owner_name": "bob"}, {"owner_name": ""}, "its owner bob no longer exists"),
    ],
)
def test_what_cannot_be_launched_says_why_until_it_is_mended(
    broken: dict[str, object], mended: dict[str, object], why: str
) -> None:
    schedule = make_schedule()
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        Schedule.objects.update(**broken)
        clock.now = NOON + timedelta(minutes=1)
        tick()
        assert why in schedule.slots.get(state=SlotState.REFUSED).reason
        assert any(why in warning.text for warning in health.health())
        Schedule.objects.update(**mended)
        clock.now = NOON + timedelta(minutes=2)
        tick()
        assert health.health() == []
    assert states(schedule) == [SlotState.REFUSED, SlotState.LAUNCHED]


def test_an_owner_who_may_not_launch_any_more_is_refused() -> None:
    owner = get_user_model().objects.create_user("ada")
    permit(owner, "launch_run")
    schedule = aged(make_schedule(owner=owner), seconds=70)
    owner.user_permissions.clear()
    tick()
    row = schedule.slots.get()
    assert (row.state, Run.objects.count()) == (SlotState.REFUSED, 0)
    assert "its owner ada may not launch runs" in row.reason


def test_an_owner_who_is_gone_does_not_launch_as_nobody() -> None:
    owner = get_user_model().objects.create_superuser("ada")
    schedule = aged(make_schedule(owner=owner), seconds=70)
    owner.delete()
    tick()
    assert states(schedule) == [SlotState.REFUSED]


def test_a_configuration_that_is_no_longer_valid_is_refused_with_what_is_wrong() -> None:
    schedule = aged(make_schedule(), seconds=70)
    Schedule.objects.update(configuration={"count": "many"})
    tick()
    assert "configuration.count" in schedule.slots.get().reason


def test_whatever_an_authors_validator_raises_is_this_schedules_trouble_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = (
        aged(make_schedule("bad", configuration={"count": 1}), seconds=70),
        aged(make_schedule("good"), seconds=70),
    )
    prepare = launch_order.prepare

    def broken(*args: object, **said: object) -> launch_order.Order:
        if said["configuration"]:
            raise KeyError("oops")
        return prepare(*args, **said)  # type: ignore[arg-type]

    monkeypatch.setattr(launch_order, "prepare", broken)
    tick()
    assert (states(bad), states(good)) == ([SlotState.REFUSED], [SlotState.LAUNCHED])


def test_a_schedule_that_cannot_be_settled_harms_no_other_and_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = aged(make_schedule("bad"), seconds=70), aged(make_schedule("good"), seconds=70)
    monkeypatch.setattr(apply, "_enter", _failing(bad.pk, apply._enter))
    report = tick()
    bad.refresh_from_db()
    assert (list(report.failed), states(good), states(bad)) == ([bad.pk], [SlotState.LAUNCHED], [])
    assert "cannot be processed" in bad.trouble
    monkeypatch.undo()
    Schedule.objects.update(due_at=database_now())
    tick()
    assert states(bad) == [SlotState.LAUNCHED]


def _failing(schedule_id: int, real: object) -> object:
    def enter(locked: object, *args: object) -> None:
        if locked.schedule.pk == schedule_id:  # type: ignore[attr-defined]
            raise RuntimeError("boom")
        real(locked, *args)  # type: ignore[operator]

    return enter


def test_a_crash_in_the_middle_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = aged(make_schedule(), seconds=70)

    def crash(schedules: object) -> None:
        raise DatabaseError("the server closed the connection")

    monkeypatch.setattr(apply, "save_schedules", crash)
    tick()
    assert (Run.objects.count(), Slot.objects.count()) == (0, 0)
    monkeypatch.undo()
    Schedule.objects.update(due_at=database_now())
    tick()
    assert states(schedule) == [SlotState.LAUNCHED]


def test_a_cursor_that_was_set_back_fires_nothing_twice() -> None:
    schedule = aged(make_schedule(overlap=Overlap.ALLOW), minutes=5, seconds=5)
    tick()
    before, launched = states(schedule), Run.objects.count()
    Schedule.objects.update(cursor=schedule.planned_at, due_at=schedule.planned_at)
    tick()
    assert (states(schedule), Run.objects.count()) == (before, launched)


def test_a_clock_set_back_fires_nothing_twice() -> None:
    schedule = make_schedule(overlap=Overlap.ALLOW)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        for minute in (1, 2, 3, 1, 2, 3, 4):
            clock.now = NOON + timedelta(minutes=minute)
            tick()
    assert states(schedule) == [SlotState.LAUNCHED] * 4


def test_a_change_of_the_timetable_settles_the_old_one_and_counts_from_then_on() -> None:
    schedule = make_schedule(overlap=Overlap.ALLOW)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        clock.now = NOON + timedelta(minutes=1, seconds=5)
        services.change_schedule(schedule.pk, every_s=600)
        assert states(schedule) == [SlotState.LAUNCHED]
        for minute in (10, 11, 12):
            clock.now = NOON + timedelta(minutes=minute, seconds=6)
            tick()
        assert states(schedule) == [SlotState.LAUNCHED] * 2


def test_the_timetable_is_not_changed_past_the_history() -> None:
    schedule = make_schedule()
    schedule.every_s = 5
    with pytest.raises(RuntimeError, match="change_schedule"):
        schedule.save()


def test_by_hand_it_runs_now_though_paused_and_respects_overlap_unless_told() -> None:
    schedule = make_schedule()
    services.pause_schedule(schedule.pk, by="ada")
    first = services.trigger_schedule(schedule.pk, by="ada")
    second = services.trigger_schedule(schedule.pk, by="ada")
    third = services.trigger_schedule(schedule.pk, by="ada", anyway=True)
    assert [row.state for row in (first, second, third)] == [SlotState.LAUNCHED, SlotState.SKIPPED, SlotState.LAUNCHED]
    assert (first.kind, first.by) == (SlotKind.MANUAL, "ada")


def test_a_backfill_runs_one_after_another_what_has_not_run() -> None:
    schedule = make_schedule(catch_up=CatchUp.NONE)
    with clock_at(NOON) as clock:
        since(schedule, NOON)
        clock.now = NOON + timedelta(minutes=3, seconds=45)
        tick()
        assert states(schedule) == [SlotState.MISSED] * 3
        start, end = NOON - timedelta(minutes=1), NOON + timedelta(minutes=2)
        dry = services.backfill_schedule(schedule.pk, start, end, by="ada", dry_run=True)
        assert states(schedule) == [SlotState.MISSED] * 3
        assert services.backfill_schedule(schedule.pk, start, end, by="ada") == dry
        assert [each.state for each in dry] == [None, None, SlotState.MISSED, SlotState.MISSED]
        for _ in range(5):
            tick()
            end_runs()
    assert states(schedule) == [SlotState.LAUNCHED] * 4 + [SlotState.MISSED]
    assert set(schedule.slots.filter(state="launched").values_list("kind", "by")) == {("backfill", "ada")}


def test_a_retry_of_a_scheduled_run_keeps_its_slot_and_its_schedule() -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    end_runs(Status.FAILED)
    run = services.retry(Run.objects.get().pk)
    assert (run.schedule, run.slot) == (schedule, schedule.slots.get().slot)
    assert audit(database_now() - timedelta(minutes=2), database_now()).is_clean


def test_the_audit_finds_what_is_missing_and_what_ran_twice() -> None:
    schedule = aged(make_schedule(overlap=Overlap.ALLOW), minutes=3, seconds=30)
    tick()
    start, end = database_now() - timedelta(minutes=10), database_now()
    assert audit(start, end).is_clean
    newest, oldest = schedule.slots.first(), schedule.slots.last()
    assert newest is not None
    assert oldest is not None
    oldest.delete()
    Slot.objects.filter(pk=newest.pk).update(run=None)
    assert len(audit(start, end).findings) == 2


def test_old_rows_are_removed_and_fire_nothing_again(configure: object) -> None:
    schedule = aged(make_schedule(), minutes=3, seconds=30)
    tick()
    end_runs()
    tick()
    configure(slots_keep_days=0.0)  # type: ignore[operator]
    assert ticking.delete_old() == 3
    tick()
    assert (schedule.slots.count(), Run.objects.count()) == (0, 1)


def test_a_silent_beat_is_warned_of() -> None:
    assert health.health() == []
    make_schedule()
    assert "The beat has never checked" in health.health()[0].text
    tick()
    assert health.health() == []
    with clock_at(database_now() + timedelta(minutes=2)):
        assert "The beat has not checked schedules for" in health.health()[0].text


def test_the_worst_is_warned_of_first_and_what_is_left_out_is_counted() -> None:
    for number in range(health.SHOWN + 3):
        make_schedule(f"s{number:02}")
    tick()
    Schedule.objects.update(failures=1)
    Schedule.objects.filter(name="s22").update(trouble="It could not be launched.")
    found = health.health()
    assert (found[0].level, found[0].schedule) == (health.Level.ERROR, "s22")
    assert found[-1].text == "3 more schedules have problems. See the list of schedules."
    assert [warning.is_of_beat for warning in found] == [False] * len(found)
