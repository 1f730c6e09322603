"""Describe a timetable, and the effect of the next change of the clocks on it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from runs.schedules.timetable.cron import Cron
from runs.schedules.timetable.slots import Timetable
from runs.schedules.timetable.zones import Change, find_zone, instant, next_change, wall
from runs.states import TimetableKind

SHOWN = 12
"""Number of slots shown around a change."""
_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


@dataclass(frozen=True, slots=True)
class Preview:
    """Next change of the clocks, and its effect on a timetable."""

    change: Change
    what: str
    """Sentence about the clocks."""
    effect: str
    """Sentence about the slots."""
    slots: tuple[datetime, ...]
    """Slots of that day, in UTC; if there are more than SHOWN, those around the change."""


def words(timetable: Timetable) -> str:
    """Describe a timetable: `At 02:30 every day, Europe/Berlin, up to 5 minutes later`. Raises TimetableError."""
    timetable.check()
    return _when(timetable) + (f", up to {_length(timetable.jitter_s)} later" if timetable.jitter_s else "")


def _when(timetable: Timetable) -> str:
    if timetable.kind == TimetableKind.INTERVAL:
        return f"Every {span(timetable.every_s)}"
    if timetable.kind == TimetableKind.CRON:
        return f"{Cron.parse(timetable.cron).words()}, {timetable.time_zone}"
    count = len(timetable.dates)
    return f"On {count} dates, {timetable.time_zone}" if count > 1 else f"Once, {timetable.time_zone}"


def span(seconds: int) -> str:
    """Format a duration in its largest whole unit: `90 seconds`, `15 minutes`, `day`."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    count = seconds // size
    return unit if count == 1 else f"{count:,} {unit}s"


def _length(seconds: int) -> str:
    """As `span`, but `1 hour`."""
    text = span(seconds)
    return text if text[0].isdecimal() else f"1 {text}"


def preview(timetable: Timetable, now: datetime) -> Preview | None:
    """Describe the next change; None if the clocks do not change within 13 months. Raises TimetableError."""
    timetable.check()
    zone = find_zone(timetable.time_zone)
    change = next_change(zone, now)
    if change is None:
        return None
    midnight = wall(change.at, zone).replace(hour=0, minute=0, second=0)
    start = midnight.replace(tzinfo=zone).astimezone(UTC) - timedelta(seconds=1)
    end = (midnight + timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    start = min(start, change.at - timedelta(hours=3))
    if timetable.kind == TimetableKind.INTERVAL:  # which may have a slot each second
        start = max(start, change.at - timedelta(seconds=timetable.every_s * SHOWN))
    slots = tuple(timetable.between(start, end, limit=5_000))
    return Preview(change, _what(change), _effect(timetable, change, slots), _near(slots, change.at))


def _near(slots: tuple[datetime, ...], at: datetime) -> tuple[datetime, ...]:
    """Return all slots, or SHOWN of them on both sides of the change."""
    first = max(0, min(bisect_left(slots, at) - SHOWN // 2, len(slots) - SHOWN))
    return slots[first : first + SHOWN]


def _what(change: Change) -> str:
    shift = int(abs((change.after - change.before).total_seconds()))
    day = (change.at + change.before).strftime("%A %-d %B %Y")
    before, after = (f"{change.at + offset:%H:%M}" for offset in (change.before, change.after))
    way = "forward" if change.is_gap else "back"
    return f"On {day} at {before} the clocks go {way} by {_length(shift)}, to {after}."


def _effect(timetable: Timetable, change: Change, slots: tuple[datetime, ...]) -> str:
    if timetable.kind == TimetableKind.INTERVAL:
        return _of_interval(timetable.every_s, change)
    touched = _touched(timetable, change)
    if timetable.kind == TimetableKind.DATES or Cron.parse(timetable.cron).is_fixed:
        return _of_fixed(touched, change)
    if change.is_gap:
        skipped = f"{_times(touched)}: skipped on that day, and nothing runs instead. The slots follow the clock."
        return skipped if touched else _NOTHING
    end = change.at + (change.before - change.after)
    again = [wall(slot, find_zone(timetable.time_zone)) for slot in slots if change.at <= slot < end]
    count = f"{len(again)} slot{'s' if len(again) > 1 else ''}"
    return f"The repeated time runs twice: {count} more ({_times(again)} again)." if again else _NOTHING


def _touched(timetable: Timetable, change: Change) -> list[datetime]:
    """List the wall-clock times of the timetable that are skipped, or occur twice."""
    low, high = sorted((change.at + change.before, change.at + change.after))
    low, high = low.replace(tzinfo=None), high.replace(tzinfo=None)
    if timetable.kind == TimetableKind.DATES:
        times = _named_dates(timetable, low, high)
    else:
        walls = Cron.parse(timetable.cron).walls(low - timedelta(seconds=1))
        times = list(takewhile(lambda time: time < high, walls))
    zone = find_zone(timetable.time_zone)
    return [time for time in times if timetable.is_open_at(instant(time, zone))]


def _of_interval(every_s: int, change: Change) -> str:
    nothing = "No effect: an interval counts elapsed time."
    moves = (change.after - change.before) % timedelta(seconds=every_s)
    return f"{nothing} On the wall clock the slots are at other times than before." if moves else nothing


_NOTHING = "No effect: no slot is in the time that is skipped or occurs twice."


def _of_fixed(touched: list[datetime], change: Change) -> str:
    if not touched:
        return _NOTHING
    many = len(touched) > 1
    occur, run = ("do not occur", "they run") if many else ("does not occur", "it runs")
    if change.is_gap:
        return f"{_times(touched)} {occur} on that day: {run} at {change.at + change.after:%H:%M} instead, once."
    return f"{_times(touched)} {'occur' if many else 'occurs'} twice on that day: {run} the first time only."


def _named_dates(timetable: Timetable, low: datetime, high: datetime) -> list[datetime]:
    dates = (datetime.fromisoformat(text.strip()) for text in timetable.dates)
    return [date for date in dates if date.tzinfo is None and low <= date < high]


def _times(walls: list[datetime]) -> str:
    shown = ", ".join(f"{time:%H:%M}" for time in walls[:4])
    return f"{shown} and {len(walls) - 4} more" if len(walls) > 4 else shown
