"""Cron expressions: five fields, evaluated by cronsim on the wall clock; what daylight saving does is decided here.

Names (`MON`, `JAN`), `L` (last day of the month; `5L` its last Friday), `LW` (last weekday), `#` (`MON#1`) are known.
As in Debian's cron, day of month and day of week must both match if one of them starts with `*`, else either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from runs.timetable.errors import TimetableError
from runs.timetable.zones import LAST_YEAR, SECOND, instant, next_change, offset, wall

FIELDS = "minute, hour, day of month, month, day of week"
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_SOME_DAY = datetime(2026, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
_SEGMENT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Cron:
    """A valid expression, as its five fields."""

    expression: str

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises TimetableError."""
        text = " ".join(text.split())
        return _parsed(ALIASES.get(text.lower(), text))

    @property
    def is_fixed(self) -> bool:
        """It names times of day; else it repeats all day long."""
        minute, hour = self.expression.split()[:2]
        return not minute.startswith("*") and not hour.startswith("*")

    def walls(self, after: datetime) -> Iterator[datetime]:
        """The wall-clock times that match, without a zone, strictly after the second of `after`."""
        for found in CronSim(self.expression, after):
            if found.year > LAST_YEAR:
                return
            yield found

    def slots(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """The slots strictly after a moment, in UTC, in order, without doubles."""
        return self._fixed(zone, after) if self.is_fixed else self._repeating(zone, after)

    def words(self) -> str:
        return CronSim(self.expression, _SOME_DAY).explain()

    def _fixed(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        last = after
        for wall_time in self.walls(wall(after, zone)):
            slot = instant(wall_time, zone)
            if slot > last:  # not a second time of a leap, nor one that came before the clocks went back
                yield slot
                last = slot

    def _repeating(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """From one change of the clocks to the next, within which the wall clock is a plain clock."""
        begin = after.replace(microsecond=0) + SECOND
        while begin.year < LAST_YEAR:
            change = next_change(zone, begin)
            end = change.at if change else begin + _SEGMENT
            ahead = offset(begin, zone)
            for wall_time in self.walls((begin + ahead).replace(tzinfo=None) - SECOND):
                slot = (wall_time - ahead).replace(tzinfo=UTC)
                if slot >= end:
                    break
                yield slot
            else:
                return
            begin = end


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> Cron:
    if (count := len(expression.split())) != 5:
        raise TimetableError("cron", f"A cron expression has five fields ({FIELDS}), this one has {count}.")
    try:
        first = next(CronSim(expression, _SOME_DAY), None)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ").replace("-", " ")
        raise TimetableError(
            "cron", f"The {name} is not understood, or never comes. The fields are: {FIELDS}."
        ) from error
    if first is None:
        raise TimetableError("cron", "No day matches it within fifty years.")
    return Cron(expression)
