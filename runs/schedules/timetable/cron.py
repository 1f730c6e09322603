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
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The values of one field."""

    name: str
    low: int
    high: int
    is_cyclic: bool = True
    """The last value is followed by the first one; the days of a month are not."""
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """The value of a number or a name that cronsim understands."""
        return int(text) if text.isdecimal() else self.low + self.names.index(text.upper())


BOUNDS = (
    Bounds("minute", 0, 59),
    Bounds("hour", 0, 23),
    Bounds("day of month", 1, 31, is_cyclic=False),
    Bounds("month", 1, 12, names=MONTHS),
    Bounds("day of week", 0, 6, names=WEEKDAYS),
)
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
_STEPPED = re.compile(r"(?P<range>\*|\w+(?:-\w+)?)/(?P<step>\d+)")
LISTED_MAX = 12
"""Longest list of values that is read out; a longer one stays a step."""
_ORDINALS = {"1": "st", "2": "nd", "3": "rd"}
_WRONG_ORDINAL = re.compile(r"\b([2-5][123])th\b")
"""How cronsim writes the 21st."""
_WORDS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_EVERY_NTH_MINUTE = re.compile(rf"^Every (?P<nth>{'|'.join(_WORDS)}|\d+th) minute(?: of every hour)?")
"""How cronsim writes `*/5` where the minutes of an hour are a multiple of it."""


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
        """Say it in English. A step that does not divide its field is read out as the values it stands for."""
        text = CronSim(_readable(self.expression), _SOME_DAY).explain()
        text = _EVERY_NTH_MINUTE.sub(_every_minutes, text)
        return _WRONG_ORDINAL.sub(lambda match: f"{match[1]}{_ORDINALS[match[1][-1]]}", text)

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
    for field, bounds in zip(fields, BOUNDS, strict=True):
        _check_steps(field, bounds)
    return Cron(expression)


def _check_steps(field: str, bounds: Bounds) -> None:
    """Refuse a step that is longer than its range: it would match the first value only. Raises TimetableError."""
    for match in _STEPPED.finditer(field):
        values, step = _range(match["range"], bounds), int(match["step"])
        if step > len(values):
            raise TimetableError(
                "cron",
                f"The step of {match[0]!r} is longer than its range: it would match {bounds.name} {values[0]} only."
                f" Write {values[0]} for that, or a step of 1 to {len(values)}.",
            )


def _range(text: str, bounds: Bounds) -> range:
    """The values of `*`, `5` (from 5 on) or `5-20`."""
    if text == "*":
        return range(bounds.low, bounds.high + 1)
    first, _, last = text.partition("-")
    return range(bounds.number(first), (bounds.number(last) if last else bounds.high) + 1)


def _readable(expression: str) -> str:
    """The same expression with short lists of values in place of steps that do not divide their field."""
    fields = expression.split()
    minute, hour, day, month, weekday = map(_listed, fields, BOUNDS)
    if "*" not in (fields[2], fields[4]):  # a leading star decides whether both days must match
        day, weekday = fields[2], fields[4]
    return " ".join((minute, hour, day, month, weekday))


def _listed(field: str, bounds: Bounds, *, alone: bool = True) -> str:
    """`alone`: the field is this part only, so that an even step reads well as a step."""
    if "," in field:
        return ",".join(_listed(part, bounds, alone=False) for part in field.split(","))
    match = _STEPPED.fullmatch(field)
    if match is None:
        return field
    values, step = _range(match["range"], bounds)[:: int(match["step"])], int(match["step"])
    divides = match["range"] == "*" and alone and bounds.is_cyclic and (bounds.high - bounds.low + 1) % step == 0
    if len(values) > LISTED_MAX or (divides and len(values) > 1):
        return field
    return ",".join(map(str, values))


def _every_minutes(match: re.Match[str]) -> str:
    nth = match["nth"]
    count = _WORDS.index(nth) + 2 if nth in _WORDS else int(nth.removesuffix("th"))
    return f"Every {count} minutes"


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
