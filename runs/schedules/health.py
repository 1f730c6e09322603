"""Warnings about schedules for pages and commands, worst first. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Case, Q, When
from django.db.models.functions import Now

from runs.conf import runs_settings
from runs.formatting import duration
from runs.models import Pulse, Schedule
from runs.schedules.policy import moment
from runs.schedules.tick import PULSE

SHOWN = 20
"""Maximum number of schedules with warnings of their own."""
CLOCK_SLACK_S = 5.0


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class ScheduleWarning:
    level: Level
    text: str
    schedule: str = ""
    """Name of the schedule; empty for a warning about all of them."""
    schedule_id: int | None = None

    @property
    def is_of_beat(self) -> bool:
        """True if schedules are not checked, or not all of them."""
        return self.level == Level.ERROR and not self.schedule


@dataclass(frozen=True, slots=True)
class Beat:
    """Last check of the schedules, by the database's clock."""

    at: datetime | None
    now: datetime | None

    @property
    def is_silent(self) -> bool:
        return self.at is None or self.age_s > runs_settings().pulse_silent_s

    @property
    def age_s(self) -> float:
        return (self.now - self.at).total_seconds() if self.now and self.at else 0.0

    @property
    def words(self) -> str:
        if self.at is None:
            return (
                "The beat has never checked schedules. Start it with `celery -A athanor beat`, or everything with"
                " `manage.py up`."
            )
        if self.age_s < -CLOCK_SLACK_S:
            return (
                f"The database's clock was set back by {duration(-self.age_s)}. Scheduled times that were already"
                " processed are not repeated."
            )
        if self.is_silent:
            return (
                f"The beat has not checked schedules for {duration(self.age_s)}, since {moment(self.at)}. Check that"
                " the beat and a worker of queue `system` are running."
            )
        return ""


def beat() -> Beat:
    pulse = Pulse.objects.filter(name=PULSE).annotate(now=Now()).first()
    return Beat(pulse.at, pulse.now) if pulse else Beat(None, None)


def health(user: Any = None) -> list[ScheduleWarning]:
    """List warnings for the home page about the schedules that the user may see; none if there are no schedules."""
    schedules = Schedule.objects.visible_to(user)
    if not schedules.exists():
        return []
    warnings = []
    if words := beat().words:
        warnings.append(ScheduleWarning(Level.ERROR, words))
    troubled = schedules.filter(~Q(trouble="") | ~Q(failures=0) | Q(paused_at__isnull=False, failures__gt=0))
    is_refused = Case(When(trouble="", then=1), default=0)
    shown = list(troubled.order_by(is_refused, "name")[: SHOWN + 1])
    for schedule in shown[:SHOWN]:
        warnings += of_schedule(schedule)
    stuck = schedules.filter(due_at__lt=Now() - timedelta(seconds=runs_settings().slot_late_s)).count()
    if stuck and not any(warning.is_of_beat for warning in warnings):
        text = f"{stuck:,} schedules are behind: their scheduled times are due, but not processed."
        warnings.append(ScheduleWarning(Level.ERROR, text))
    warnings.sort(key=lambda warning: warning.level == Level.WARNING)
    if len(shown) > SHOWN:
        more = f"{troubled.count() - SHOWN:,} more schedules have problems. See the list of schedules."
        warnings.append(ScheduleWarning(Level.WARNING, more))
    return warnings


def of_schedule(schedule: Schedule) -> list[ScheduleWarning]:
    """List the warnings about one schedule."""

    def about(level: Level, text: str) -> ScheduleWarning:
        return ScheduleWarning(level, text, schedule.name, schedule.pk)

    warnings = []
    if schedule.trouble:
        warnings.append(about(Level.ERROR, schedule.trouble))
    if schedule.is_paused and schedule.failures:
        warnings.append(about(Level.WARNING, schedule.paused_why))
    elif schedule.failures:
        last = f"Its last {schedule.failures} runs failed." if schedule.failures > 1 else "Its last run failed."
        warnings.append(about(Level.WARNING, last))
    return warnings
