"""Whatever happens, in whatever order: each slot is launched at most once, and has its row, which says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from runs import services
from runs.models import Run, Schedule
from runs.schedules import apply
from runs.schedules.audit import SLACK, audit
from runs.states import CatchUp, Overlap, Status, TimetableKind
from tests.schedules import clock_at, end_runs, make_schedule, since, tick

NOON = datetime(2026, 3, 28, 22, tzinfo=UTC)
"""Three hours before the clocks of Berlin go forward."""

TIMETABLES: tuple[dict[str, Any], ...] = (
    {"kind": TimetableKind.INTERVAL, "every_s": 300},
    {"kind": TimetableKind.INTERVAL, "every_s": 1200, "jitter_s": 900},
    {"kind": TimetableKind.CRON, "cron": "*/10 * * * *", "time_zone": "Europe/Berlin"},
    {"kind": TimetableKind.CRON, "cron": "5,35 * * * *", "time_zone": "Europe/Berlin", "jitter_s": 240},
    {"kind": TimetableKind.CRON, "cron": "0,15,30,45 1-4 * * *", "time_zone": "Europe/Berlin"},
    {"kind": TimetableKind.DATES, "dates": ["2026-03-29 01:30", "2026-03-29 02:30"], "time_zone": "Europe/Berlin"},
)


class Beats(RuleBasedStateMachine):
    """Schedules of every policy; beats, pauses, crashes, changes, and a clock that also goes back."""

    @initialize(
        chosen=st.lists(
            st.tuples(st.sampled_from(Overlap), st.sampled_from(CatchUp), st.sampled_from(TIMETABLES)),
            min_size=1,
            max_size=3,
        )
    )
    def begin(self, chosen: list[tuple[Overlap, CatchUp, dict[str, Any]]]) -> None:
        self.savepoint = transaction.savepoint()
        self.clock_context = clock_at(NOON)
        self.clock = self.clock_context.__enter__()
        self.latest = NOON
        self.schedules = []
        for number, (overlap, catch_up, timetable) in enumerate(chosen):
            values = {"every_s": None, "cron": "", "overlap": overlap, "catch_up": catch_up, "pause_after_failures": 3}
            self.schedules.append(since(make_schedule(f"s{number}", **values | timetable), NOON))

    @rule(seconds=st.integers(1, 5400))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)
        self.latest = max(self.latest, self.clock.now)

    @rule(seconds=st.integers(1, 7200))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.clock.now -= timedelta(seconds=seconds)

    @rule()
    def beat(self) -> None:
        tick()

    @rule(where=st.sampled_from(["save_schedules", "settled_slots", "decide"]))
    def a_beat_crashes(self, where: str) -> None:
        with patch.object(apply, where, side_effect=DatabaseError("killed")):
            tick()
        Schedule.objects.filter(due_at__isnull=False).update(due_at=self.clock.now)

    @rule(data=st.data())
    def pause_or_resume(self, data: st.DataObject) -> None:
        schedule = data.draw(st.sampled_from(self.schedules))
        schedule.refresh_from_db()
        (services.resume_schedule if schedule.is_paused else services.pause_schedule)(schedule.pk, by="ada")

    @rule(data=st.data(), timetable=st.sampled_from(TIMETABLES))
    def the_timetable_is_changed(self, data: st.DataObject, timetable: dict[str, Any]) -> None:
        schedule = data.draw(st.sampled_from(self.schedules))
        schedule.refresh_from_db()
        due, _ = schedule.timetable().due(schedule.cursor, self.clock.now, limit=1_000)
        changed = services.change_schedule(schedule.pk, **{"every_s": None, "cron": "", "jitter_s": 0} | timetable)
        if changed.planned_at != schedule.planned_at:  # it is another one
            of_the_old = schedule.slots.filter(slot__in=[fire.slot for fire in due])
            assert of_the_old.count() == len(due), "the slots that were due by the old timetable are settled"

    @rule(data=st.data(), anyway=st.booleans())
    def somebody_triggers(self, data: st.DataObject, anyway: bool) -> None:
        services.trigger_schedule(data.draw(st.sampled_from(self.schedules)).pk, by="ada", anyway=anyway)

    @rule(status=st.sampled_from([Status.COMPLETED, Status.FAILED, Status.CANCELLED]))
    def runs_end(self, status: Status) -> None:
        end_runs(status)

    @invariant()
    def no_slot_ran_twice_and_none_is_missing(self) -> None:
        if hasattr(self, "clock"):
            self._settled()

    def _settled(self) -> None:
        """Check that settled slots are true; slots that no beat has processed yet are not checked."""
        seen = [schedule.cursor for schedule in Schedule.objects.all()]
        result = audit(NOON, min(seen)) if seen else None
        assert result is None or result.is_clean, list(map(str, result.findings))

    def teardown(self) -> None:
        if not hasattr(self, "clock"):
            return
        try:
            self._all_is_settled_in_the_end()
        finally:
            self.clock_context.__exit__(None, None, None)
            transaction.savepoint_rollback(self.savepoint)

    def _all_is_settled_in_the_end(self) -> None:
        self.clock.now = self.latest + timedelta(hours=1)
        Schedule.objects.filter(due_at__isnull=False).update(due_at=self.clock.now)
        tick()
        at_the_last_beat = self.clock.now
        self.clock.now += SLACK  # not more: jitter may make a slot due between the beat and then
        result = audit(NOON - timedelta(hours=3), at_the_last_beat)
        assert result.is_clean, list(map(str, result.findings))
        assert Run.objects.values("schedule", "slot").distinct().count() == Run.objects.count()


@pytest.mark.django_db
@pytest.mark.timeout(600)
def test_any_sequence_of_beats_pauses_crashes_changes_and_clock_steps() -> None:
    run_state_machine_as_test(
        Beats,
        settings=settings(
            max_examples=15 if connection.vendor == "postgresql" else 30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
