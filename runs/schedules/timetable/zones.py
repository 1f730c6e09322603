"""Time zones: conversion between wall clock and UTC, and changes of the clocks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from runs.schedules.timetable.errors import TimetableError

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
YEARS = (1900, 9000)
"""Range of the years that people may enter."""
LAST_YEAR = 9990
"""Last year of any slot, shortly before the end of what a datetime can hold."""


@dataclass(frozen=True, slots=True)
class Change:
    """Change of a zone's clocks. `at` is the first moment with the new offset."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """True if the clocks go forward and skip times; False if they go back and times occur twice."""
        return self.after > self.before


@cache
def find_zone(name: str) -> ZoneInfo:
    """Return the zone of this name. Raises TimetableError with a suggestion."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        near = difflib.get_close_matches(name, zone_names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ". Use a name such as Europe/Berlin, or UTC."
        raise TimetableError("time_zone", f"Unknown time zone {name[:60]!r}{hint}") from error


@cache
def zone_names() -> tuple[str, ...]:
    """Return the names in common use: by continent, and UTC."""
    return ("UTC", *sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/")))


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the wall-clock time in the zone, as a naive datetime."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def instant(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """Return when the clocks first show a time, in UTC; for a skipped time, the moment of the change."""
    local = wall_time.replace(tzinfo=zone, fold=0)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall_time:
        return moment
    leap = next_change(zone, moment - DAY * 2, is_gap=True)
    return moment if leap is None else leap.at


def resolved(when: datetime, zone: ZoneInfo) -> datetime:
    """Convert an entered time, with an offset or in the zone, to UTC. Raises TimetableError."""
    if not YEARS[0] <= when.year <= YEARS[1]:
        raise TimetableError("dates", f"The year must be from {YEARS[0]} to {YEARS[1]}, not {when.year}.")
    return when.astimezone(UTC) if when.tzinfo else instant(when, zone)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def changes(zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[Change]:
    """Yield the changes with `after < at <= until`, in order."""
    for year in range(after.astimezone(UTC).year, min(until.astimezone(UTC).year, LAST_YEAR) + 1):
        yield from (change for change in _changes_of_year(zone, year) if after < change.at <= until)


def next_change(zone: ZoneInfo, after: datetime, *, is_gap: bool | None = None) -> Change | None:
    """Return the first change after a moment, of the given kind; None if there is none within 13 months."""
    coming = changes(zone, after, after + 400 * DAY)
    return next((change for change in coming if is_gap is None or change.is_gap == is_gap), None)


@lru_cache(maxsize=4096)
def _changes_of_year(zone: ZoneInfo, year: int) -> tuple[Change, ...]:
    """Find the changes of one year of UTC, by a comparison of offsets every half day and then a binary search."""
    year_changes, moment, end = (
        [],
        datetime(year, 1, 1, tzinfo=UTC) - SECOND,
        datetime(year + 1, 1, 1, tzinfo=UTC) - SECOND,
    )
    while moment < end:
        later = min(moment + DAY / 2, end)
        if offset(moment, zone) != offset(later, zone):
            at = _first_with_offset_of(later, zone, moment)
            year_changes.append(Change(at, offset(at - SECOND, zone), offset(at, zone)))
        moment = later
    return tuple(year_changes)


def _first_with_offset_of(after: datetime, zone: ZoneInfo, before: datetime) -> datetime:
    """Return the first whole second with the offset of `after`, by binary search from `before`."""
    old = offset(before, zone)
    while after - before > SECOND:
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        before, after = (middle, after) if offset(middle, zone) == old else (before, middle)
    return after
