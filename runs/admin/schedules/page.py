"""Content of a schedule's page. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from runs import formatting
from runs.models import Schedule, Slot
from runs.schedules import health, serializers, timetable
from runs.schedules.policy import moment
from runs.schedules.timetable import Preview, TimetableError, find_zone
from runs.states import RAN, SlotState

CHART_HEIGHT = 100.0
CHART_BARS = 30
"""Number of bars that fill the chart. Fewer bars keep their width."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Slot in the strip of the history."""

    row: Slot
    look: str
    """Style, and key of the legend."""
    words: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Duration of one run in the chart, which is 100 high."""

    x: int
    y: float
    height: float
    look: str
    words: str
    run_id: int | None


@dataclass(frozen=True, slots=True)
class Durations:
    bars: list[Bar]
    longest: str
    median: str
    width: int
    first: datetime
    last: datetime
    """Slot of the last bar; `first` is that of the first one."""


@dataclass(frozen=True, slots=True)
class FireView:
    at: datetime
    local: str
    """Time in the schedule's zone."""
    jitter: str


def look(row: Slot) -> str:
    """Return `completed`, `failed`, `cancelled`, `running` or `gone` for a launched slot, or else its state."""
    if row.state not in RAN:
        return row.state
    if row.outcome:
        return row.outcome
    return "running" if row.run_id else "gone"


LEGEND = (
    ("completed", "completed"),
    ("failed", "failed"),
    ("cancelled", "cancelled"),
    ("running", "running"),
    (SlotState.WAITING, "waiting"),
    (SlotState.SKIPPED, "skipped"),
    (SlotState.MISSED, "missed"),
    (SlotState.PAUSED, "paused"),
    (SlotState.REFUSED, "refused"),
    ("gone", "run deleted"),
)


STATE_LOOKS = {
    "Paused": "run-cancelled",
    "Refused": "run-failed",
    "Failing": "run-failed",
    "Ended": "",
    "Active": "run-completed",
}


def marks(rows: list[Slot]) -> list[Mark]:
    """Return the marks of the strip, oldest first."""
    return [Mark(row, look(row), serializers.row_words(row)) for row in reversed(rows)]


def durations(rows: list[Slot]) -> Durations | None:
    """Build the chart of the runs that have ended, oldest first; None if there are none."""
    ended = [row for row in reversed(rows) if row.duration_s is not None]
    if not ended:
        return None
    seconds = [row.duration_s or 0.0 for row in ended]
    longest = max([0.001, *seconds])
    heights = [max(2.0, CHART_HEIGHT * each / longest) for each in seconds]
    bars = [
        Bar(
            index * 10,
            CHART_HEIGHT - height,
            height,
            look(row),
            f"{moment(row.slot)}: {formatting.duration(row.duration_s)}, {row.get_outcome_display().lower()}",
            row.run_id,
        )
        for index, (row, height) in enumerate(zip(ended, heights, strict=True))
    ]
    middle = sorted(seconds)[len(seconds) // 2]
    return Durations(
        bars,
        longest=formatting.duration(max(seconds)),
        median=formatting.duration(middle),
        width=max(CHART_BARS, len(bars)) * 10,
        first=ended[0].slot,
        last=ended[-1].slot,
    )


def fires(schedule: Schedule) -> list[FireView]:
    zone = find_zone(schedule.time_zone)
    return [
        FireView(
            fire.due_at,
            clock(fire.due_at, zone),
            f"slot {fire.slot.astimezone(zone):%H:%M}" if fire.due_at != fire.slot else "",
        )
        for fire in serializers.next_fires(schedule)
    ]


def clock(at: datetime, zone: ZoneInfo) -> str:
    """Format as `Wed 25 Nov 02:30 CET`, with the year if it is another one, and with seconds unless they are 0."""
    local = at.astimezone(zone)
    year = f" {local.year}" if local.year != timezone.now().year else ""
    return f"{local:%a %-d %b}{year} {local:%H:%M:%S}".removesuffix(":00") + f" {local:%Z}"


def facts(schedule: Schedule) -> list[tuple[str, str]]:
    """List the settings, without empty ones."""
    zone = find_zone(schedule.time_zone)
    settings = [
        ("Runs as", schedule.owner_name or "the shell"),
        ("Overlap", schedule.get_overlap_display()),
        ("Catch-up", f"{schedule.get_catch_up_display()} ({formatting.duration(schedule.catch_up_window_s)})"),
        ("Pauses after", f"{schedule.pause_after_failures} failures in a row" if schedule.pause_after_failures else ""),
        ("Starts", f"{schedule.starts_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}" if schedule.starts_at else ""),
        ("Ends", f"{schedule.ends_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}" if schedule.ends_at else ""),
        ("Jitter", f"up to {formatting.duration(schedule.jitter_s)}" if schedule.jitter_s else ""),
        ("Queue", schedule.queue),
        ("Priority", "" if schedule.priority is None else str(schedule.priority)),
        ("Timetable changed", f"{schedule.planned_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"),
    ]
    return [(name, value) for name, value in settings if value]


def preview(schedule: Schedule) -> Preview | None:
    return timetable.preview(schedule.timetable(), timezone.now())


def context(schedule: Schedule) -> dict[str, Any]:
    """Return the context of the page, without permissions and its query."""
    rows = serializers.last_slots(schedule)
    strip = marks(rows)
    used = {mark.look for mark in strip}
    state = serializers.state(schedule)
    return {
        "schedule": schedule,
        "state": state,
        "state_look": STATE_LOOKS[state],
        "words": serializers.words(schedule),
        "week": serializers.weeks([schedule.pk])[schedule.pk],
        "warnings": health.of_schedule(schedule),
        "beat": health.beat().words,
        "marks": strip,
        "legend": [(name, text) for name, text in LEGEND if name in used],
        "has_caught_up": any(row.state == SlotState.CAUGHT_UP for row in rows),
        "durations": durations(rows),
        "rows": rows[:30],
        "configuration": formatting.pretty(serializers.shown_configuration(schedule)),
        "limits": formatting.pretty(schedule.limits) if schedule.limits else "",
        **ahead(schedule),
    }


def ahead(schedule: Schedule) -> dict[str, Any]:
    """Return the coming runs and the settings; empty for an invalid timetable."""
    try:
        change = preview(schedule)
        return {
            "fires": fires(schedule),
            "preview": change,
            "change_slots": slots_of(change, find_zone(schedule.time_zone)),
            "facts": facts(schedule),
        }
    except TimetableError:
        return {"fires": [], "preview": None, "change_slots": [], "facts": []}


def slots_of(change: Preview | None, zone: ZoneInfo) -> list[str]:
    """Format the slots around a change of the clocks: `Sun 03:00 CEST`, or with seconds."""
    if change is None:
        return []
    time = "%H:%M:%S" if any(slot.second for slot in change.slots) else "%H:%M"
    return [f"{slot.astimezone(zone):%a {time} %Z}" for slot in change.slots]
