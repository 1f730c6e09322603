"""Cron expressions: five fields, evaluated by cronsim on the wall clock; what daylight saving does is decided here.

Names (`MON`, `JAN`), `L` (last day of the month; `5L` its last Friday), `LW` (last weekday), `#` (`MON#1`) are known.
As in Debian's cron, day of month and day of week must both match if one of them starts with `*`, else either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from runs.schedules.timetable.errors import TimetableError
from runs.schedules.timetable.zones import LAST_YEAR, SECOND, instant, next_change, offset, wall

FIELDS = "minute, hour, day of month, month, day of week"
RIGHT = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of month": "1 to 31, L for the last day, LW for the last weekday",
    "month": "1 to 12, or JAN to DEC",
    "day of week": "0 to 7 (both are Sunday), SUN to SAT, MON#1 for the first Monday, 5L for the last Friday",
}
"""What each field may hold, in the order of the fields."""
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
_ORDINALS = {"1": "st", "2": "nd", "3": "rd"}
_WRONG_ORDINAL = re.compile(r"\b([2-5][123])th\b")
"""How cronsim writes the 21st."""


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
        told = CronSim(self.expression, _SOME_DAY).explain()
        return _WRONG_ORDINAL.sub(lambda found: f"{found[1]}{_ORDINALS[found[1][-1]]}", told)

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
    fields = expression.split()
    if len(fields) != 5:
        raise TimetableError("cron", _miscounted(expression, len(fields)))
    try:
        first = next(CronSim(expression, _SOME_DAY), None)
    except CronSimError as error:
        raise TimetableError("cron", _misunderstood(fields)) from error
    if first is None:
        raise TimetableError("cron", f"No day matches {expression!r} within fifty years.")
    return Cron(expression)


def _miscounted(expression: str, count: int) -> str:
    if expression.startswith("@"):
        return f"{expression[:40]} is not known; write five fields ({FIELDS}), or one of {', '.join(ALIASES)}."
    seconds = " There are no seconds: leave the first out." if count == 6 else ""
    right = "as 30 2 * * MON-FRI, for 02:30 from Monday to Friday"
    return f"A cron expression has five fields ({FIELDS}), {right}; this one has {count}.{seconds}"


def _misunderstood(fields: list[str]) -> str:
    """Which field is wrong, and what it may hold."""
    for index, (name, right) in enumerate(RIGHT.items()):
        if not _is_understood(fields[index], index):
            quartz = "? is another program's; write * instead. " if "?" in fields[index] else ""
            return (
                f"The {name} {fields[index][:40]!r} is not understood. {quartz}It is {right}; or *, a list as 1,3, a"
                " range as 1-5, a step as */2."
            )
    return f"Day {fields[2]} never comes in month {fields[3]}."


def _is_understood(field: str, index: int) -> bool:
    """Whether one field would do, were all others stars."""
    fields = ["*"] * 5
    fields[index] = field
    try:
        CronSim(" ".join(fields), _SOME_DAY)
    except CronSimError:
        return False
    return True
