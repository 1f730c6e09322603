"""Time zones: what a wall clock means, and when its zone's clocks change."""

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
"""Of what people write."""
LAST_YEAR = 9990
"""Nothing is looked for near the end of what a datetime can hold."""


@dataclass(frozen=True, slots=True)
class Change:
    """The clocks of a zone change: `at` is the first moment with the new offset."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """The wall clock leaps forward, over times that there are not; else it goes back, over times that come
        twice."""
        return self.after > self.before


@cache
def find_zone(name: str) -> ZoneInfo:
    """Raises TimetableError, with a suggestion."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        near = difflib.get_close_matches(name, zone_names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; write one as Europe/Berlin, or UTC."
        raise TimetableError("time_zone", f"There is no time zone {name[:60]!r}{hint}") from error


@cache
def zone_names() -> tuple[str, ...]:
    """The names people use: by continent, and UTC."""
    return ("UTC", *sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/")))


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the zone's clocks show, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def instant(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks show a time first; for a time that they leap over, the moment of the leap. In UTC."""
    local = wall_time.replace(tzinfo=zone, fold=0)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall_time:
        return moment
    leap = next_change(zone, moment - DAY * 2, is_gap=True)
    return moment if leap is None else leap.at


def resolved(when: datetime, zone: ZoneInfo) -> datetime:
    """A moment that people wrote, in UTC: with an offset, or by the clock of the zone. Raises TimetableError."""
    if not YEARS[0] <= when.year <= YEARS[1]:
        raise TimetableError("dates", f"The year must be from {YEARS[0]} to {YEARS[1]}, not {when.year}.")
    return when.astimezone(UTC) if when.tzinfo else instant(when, zone)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def changes(zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[Change]:
    """All with `after < at <= until`, in order."""
    for year in range(after.astimezone(UTC).year, min(until.astimezone(UTC).year, LAST_YEAR) + 1):
        yield from (change for change in _changes_of_year(zone, year) if after < change.at <= until)


def next_change(zone: ZoneInfo, after: datetime, *, is_gap: bool | None = None) -> Change | None:
    """The first one after a moment, of the wanted kind; None if none comes within 13 months."""
    found = changes(zone, after, after + 400 * DAY)
    return next((change for change in found if is_gap is None or change.is_gap == is_gap), None)


@lru_cache(maxsize=4096)
def _changes_of_year(zone: ZoneInfo, year: int) -> tuple[Change, ...]:
    """The changes of one year of UTC, found by looking every half day and then halving."""
    found, moment, end = [], datetime(year, 1, 1, tzinfo=UTC) - SECOND, datetime(year + 1, 1, 1, tzinfo=UTC) - SECOND
    while moment < end:
        later = min(moment + DAY / 2, end)
        if offset(moment, zone) != offset(later, zone):
            at = _halved(zone, moment, later)
            found.append(Change(at, offset(at - SECOND, zone), offset(at, zone)))
        moment = later
    return tuple(found)


def _halved(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first whole second with the offset of `after`."""
    old = offset(before, zone)
    while after - before > SECOND:
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        before, after = (middle, after) if offset(middle, zone) == old else (before, middle)
    return after
