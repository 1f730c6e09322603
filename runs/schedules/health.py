"""What is wrong with schedules, for every page and command that warns: in sentences, worst first. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import Case, Q, When
from django.db.models.functions import Now

from runs.conf import runs_settings
from runs.formatting import duration
from runs.models import Pulse, Schedule
from runs.schedules.policy import moment
from runs.schedules.tick import PULSE

SHOWN = 20
"""Most schedules that are warned of one by one."""
CLOCK_SLACK_S = 5.0


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Warn:
    level: Level
    text: str
    schedule: str = ""
    """Name of the schedule that it is about."""
    schedule_id: int | None = None

    @property
    def is_of_beat(self) -> bool:
        """That nobody looks after schedules, or not all of them."""
        return self.level == Level.ERROR and not self.schedule


@dataclass(frozen=True, slots=True)
class Beat:
    """When schedules were last looked at, by the database's clock."""

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
                "No beat has looked after schedules yet. Start one: `celery -A athanor beat`, or all by `manage.py up`."
            )
        if self.age_s < -CLOCK_SLACK_S:
            return (
                f"The database's clock was set back by {duration(-self.age_s)}: slots that were settled stay settled."
            )
        if self.is_silent:
            return (
                f"The beat is silent: nobody has looked after schedules for {duration(self.age_s)}, since"
                f" {moment(self.at)}. Are the beat and the worker of the queue `system` running?"
            )
        return ""


def beat() -> Beat:
    pulse = Pulse.objects.filter(name=PULSE).annotate(now=Now()).first()
    return Beat(pulse.at, pulse.now) if pulse else Beat(None, None)


def health() -> list[Warn]:
    """Warnings for the home page; empty when all is well, or when there are no schedules. A few small queries."""
    if not Schedule.objects.exists():
        return []
    found = []
    if words := beat().words:
        found.append(Warn(Level.ERROR, words))
    troubled = Schedule.objects.filter(~Q(trouble="") | ~Q(failures=0) | Q(paused_at__isnull=False, failures__gt=0))
    is_refused = Case(When(trouble="", then=1), default=0)
    shown = list(troubled.order_by(is_refused, "name")[: SHOWN + 1])
    for schedule in shown[:SHOWN]:
        found += of_schedule(schedule)
    stuck = Schedule.objects.filter(due_at__lt=Now() - timedelta(seconds=runs_settings().slot_late_s)).count()
    if stuck and not any(warning.is_of_beat for warning in found):
        found.append(Warn(Level.ERROR, f"{stuck:,} schedules are behind: slots are due and not yet settled."))
    found.sort(key=lambda warning: warning.level == Level.WARNING)
    if len(shown) > SHOWN:
        found.append(
            Warn(Level.WARNING, f"{troubled.count() - SHOWN:,} more have trouble: the list of schedules tells.")
        )
    return found


def of_schedule(schedule: Schedule) -> list[Warn]:
    """What its own page warns of."""

    def about(level: Level, text: str) -> Warn:
        return Warn(level, text, schedule.name, schedule.pk)

    found = []
    if schedule.trouble:
        found.append(about(Level.ERROR, schedule.trouble))
    if schedule.is_paused and schedule.failures:
        found.append(about(Level.WARNING, schedule.paused_why))
    elif schedule.failures:
        found.append(
            about(
                Level.WARNING,
                f"Its last {schedule.failures} runs failed." if schedule.failures > 1 else "Its last run failed.",
            )
        )
    return found
