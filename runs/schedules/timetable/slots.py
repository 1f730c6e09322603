"""Slots of a timetable, and when each is due."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import NamedTuple

from runs.schedules.timetable.cron import Cron
from runs.schedules.timetable.errors import TimetableError
from runs.schedules.timetable.zones import find_zone, resolved
from runs.states import TimetableKind

EVERY_MAX_S = 366 * 24 * 3600
JITTER_MAX_S = 31 * 24 * 3600
DATES_MAX = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fire(NamedTuple):
    """Slot, and when it is due: at its time, or later because of jitter."""

    slot: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Timetable:
    """Timetable of one schedule. Datetimes are aware; `starts_at` and `ends_at` are inclusive."""

    kind: TimetableKind
    cron: str = ""
    every_s: int = 0
    dates: tuple[str, ...] = ()
    """ISO 8601; dates without an offset are in the time zone."""
    time_zone: str = "UTC"
    anchor: datetime = EPOCH
    """Intervals are counted from here unless there is a `starts_at`."""
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter_s: int = 0
    key: str = ""
    """Seed of the jitter."""

    def check(self) -> None:
        """Raise TimetableError for an invalid timetable."""
        find_zone(self.time_zone)
        if self.kind == TimetableKind.CRON:
            Cron.parse(self.cron)
        elif self.kind == TimetableKind.INTERVAL:
            if not 1 <= self.every_s <= EVERY_MAX_S:
                longest = f"{EVERY_MAX_S // 86400}d"
                raise TimetableError("every_s", f"The interval must be 1s to {longest}, for example 30s, 10m or 6h.")
        elif not 1 <= len(self.dates) <= DATES_MAX:
            raise TimetableError("dates", f"Enter 1 to {DATES_MAX:,} dates, one per line, as 2026-03-29 02:30.")
        else:
            self._dates()
        if self.starts_at and self.ends_at and self.ends_at < self.starts_at:
            raise TimetableError("ends_at", "The end is before the start. Enter a later end, or leave it empty.")
        if not 0 <= self.jitter_s <= JITTER_MAX_S:
            raise TimetableError("jitter_s", f"Jitter must be 0s to {JITTER_MAX_S // 86400}d.")

    def is_open_at(self, moment: datetime) -> bool:
        """Return whether a moment is between the start and the end."""
        return (self.starts_at is None or self.starts_at <= moment) and (self.ends_at is None or moment <= self.ends_at)

    def slots(self, after: datetime) -> Iterator[datetime]:
        """Yield the slots strictly after a moment, in UTC, in order, lazily. May be endless."""
        if self.starts_at is not None:
            after = max(after, self.starts_at - timedelta(microseconds=1))
        slots = self._unbounded(after.astimezone(UTC))
        return slots if self.ends_at is None else _until(slots, self.ends_at)

    def between(self, after: datetime, until: datetime, *, limit: int | None = None) -> list[datetime]:
        """List the slots with `after < slot <= until`, at most `limit` of them."""
        return list(islice(_until(self.slots(after), until), limit))

    def fires(self, after: datetime) -> Iterator[Fire]:
        """Yield the slots strictly after a moment, each with the time it is due. Both are in order: jitter never moves
        a slot to or beyond the next one.
        """
        slots = self.slots(after)
        slot = next(slots, None)
        while slot is not None:
            following = next(slots, None)
            yield Fire(slot, slot + self._delay(slot, following))
            slot = following

    def due(self, after: datetime, now: datetime, *, limit: int) -> tuple[list[Fire], Fire | None]:
        """Return the slots strictly after a moment that are due by now (`limit` at most), and the first one that is not
        among them.
        """
        fires: list[Fire] = []
        for fire in self.fires(after):
            if fire.due_at > now or len(fires) == limit:
                return fires, fire
            fires.append(fire)
        return fires, None

    def _unbounded(self, after: datetime) -> Iterator[datetime]:
        if self.kind == TimetableKind.CRON:
            return Cron.parse(self.cron).slots(find_zone(self.time_zone), after)
        if self.kind == TimetableKind.INTERVAL:
            return self._interval(after)
        return (date for date in self._dates() if date > after)

    def _interval(self, after: datetime) -> Iterator[datetime]:
        start, every = self.starts_at or self.anchor, timedelta(seconds=self.every_s)
        slot = start + ((after - start) // every + 1) * every
        while slot.year < 9990:
            yield slot.astimezone(UTC)
            slot += every

    def _dates(self) -> list[datetime]:
        zone, dates = find_zone(self.time_zone), set()
        for text in self.dates:
            try:
                date = datetime.fromisoformat(text.strip())
            except ValueError as error:
                raise TimetableError("dates", f"Invalid date {text!r}. Use 2026-03-29 02:30.") from error
            dates.add(resolved(date, zone))
        return sorted(dates)

    def _delay(self, slot: datetime, following: datetime | None) -> timedelta:
        if not self.jitter_s:
            return timedelta()
        room = self.jitter_s + 1
        if following is not None:
            room = max(1, min(room, int((following - slot).total_seconds())))
        digest = hashlib.sha256(f"{self.key} {slot.isoformat()}".encode()).digest()
        return timedelta(seconds=int.from_bytes(digest[:8], "big") % room)


def _until(slots: Iterator[datetime], end: datetime) -> Iterator[datetime]:
    return takewhile(lambda slot: slot <= end, slots)
