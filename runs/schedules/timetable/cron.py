"""Cron expressions: five fields, evaluated by cronsim on the wall clock. This module handles daylight saving.

Supported are names (`MON`, `JAN`), `L` (last day of the month; `5L` its last Friday), `LW` (last weekday) and `#`
(`MON#1`). As in Debian's cron, day of month and day of week must both match if one of them starts with `*`; otherwise
one of them must match.
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
    """Values of one field."""

    name: str
    low: int
    high: int
    is_cyclic: bool = True
    """True if the first value follows the last one, which is not so for days of a month."""
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """Return the value of a number or a name that cronsim accepts."""
        return int(text) if text.isdecimal() else self.low + self.names.index(text.upper())


BOUNDS = (
    Bounds("minute", 0, 59),
    Bounds("hour", 0, 23),
    Bounds("day of month", 1, 31, is_cyclic=False),
    Bounds("month", 1, 12, names=MONTHS),
    Bounds("day of week", 0, 6, names=WEEKDAYS),
)
VALID = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of month": "1 to 31, L for the last day, LW for the last weekday",
    "month": "1 to 12, or JAN to DEC",
    "day of week": "0 to 7 (both are Sunday), SUN to SAT, MON#1 for the first Monday, 5L for the last Friday",
}
"""Field → valid values, in the order of the fields."""
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
"""Longest list of values in a description; a longer one stays a step."""
_ORDINALS = {"1": "st", "2": "nd", "3": "rd"}
_WRONG_ORDINAL = re.compile(r"\b([2-5][123])th\b")
"""Matches the text of cronsim for the 21st."""
_WORDS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_EVERY_NTH_MINUTE = re.compile(rf"^Every (?P<nth>{'|'.join(_WORDS)}|\d+th) minute(?: of every hour)?")
"""Matches the text of cronsim for `*/5` and other divisors of 60."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Valid expression of five fields."""

    expression: str

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Parse an expression or an alias. Raises TimetableError."""
        text = " ".join(text.split())
        return _parsed(ALIASES.get(text.lower(), text))

    @property
    def is_fixed(self) -> bool:
        """True if it has fixed times of day; False if it repeats all day."""
        minute, hour = self.expression.split()[:2]
        return not minute.startswith("*") and not hour.startswith("*")

    def walls(self, after: datetime) -> Iterator[datetime]:
        """Yield the matching wall-clock times, as naive datetimes, strictly after the second of `after`."""
        for wall_time in CronSim(self.expression, after):
            if wall_time.year > LAST_YEAR:
                return
            yield wall_time

    def slots(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Yield the slots strictly after a moment, in UTC, in order, without duplicates."""
        return self._fixed(zone, after) if self.is_fixed else self._repeating(zone, after)

    def words(self) -> str:
        """Describe it in English. A step that does not divide its field is replaced by its values."""
        text = CronSim(_readable(self.expression), _SOME_DAY).explain()
        text = _EVERY_NTH_MINUTE.sub(_every_minutes, text)
        return _WRONG_ORDINAL.sub(lambda match: f"{match[1]}{_ORDINALS[match[1][-1]]}", text)

    def _fixed(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        last = after
        for wall_time in self.walls(wall(after, zone)):
            slot = instant(wall_time, zone)
            if slot > last:  # not a second time in a gap, nor a repeated time
                yield slot
                last = slot

    def _repeating(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Yield slots from one change of the clocks to the next: between two changes the offset is constant."""
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
        raise TimetableError("cron", _wrong_count(expression, len(fields)))
    try:
        first = next(CronSim(expression, _SOME_DAY), None)
    except CronSimError as error:
        raise TimetableError("cron", _invalid_field(fields)) from error
    if first is None:
        raise TimetableError("cron", f"No date matches {expression!r} within fifty years.")
    for field, bounds in zip(fields, BOUNDS, strict=True):
        _check_steps(field, bounds)
    return Cron(expression)


def _check_steps(field: str, bounds: Bounds) -> None:
    """Raise TimetableError for a step that is longer than its range: it would match the first value only."""
    for match in _STEPPED.finditer(field):
        values, step = _range(match["range"], bounds), int(match["step"])
        if step > len(values):
            raise TimetableError(
                "cron",
                f"The step of {match[0]!r} is longer than its range: it would match {bounds.name} {values[0]} only."
                f" Use {values[0]} for that, or a step of 1 to {len(values)}.",
            )


def _range(text: str, bounds: Bounds) -> range:
    """Return the values of `*`, `5` (from 5 on) or `5-20`."""
    if text == "*":
        return range(bounds.low, bounds.high + 1)
    first, _, last = text.partition("-")
    return range(bounds.number(first), (bounds.number(last) if last else bounds.high) + 1)


def _readable(expression: str) -> str:
    """Replace steps that do not divide their field by short lists of values."""
    fields = expression.split()
    minute, hour, day, month, weekday = map(_listed, fields, BOUNDS)
    if "*" not in (fields[2], fields[4]):  # a leading star decides whether both days must match
        day, weekday = fields[2], fields[4]
    return " ".join((minute, hour, day, month, weekday))


def _listed(field: str, bounds: Bounds, *, alone: bool = True) -> str:
    """Replace the steps of one field. `alone`: the field has no other part, so a step that divides it stays."""
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


def _wrong_count(expression: str, count: int) -> str:
    if expression.startswith("@"):
        return f"Unknown alias {expression[:40]}. Use five fields ({FIELDS}), or one of {', '.join(ALIASES)}."
    seconds = " Seconds are not supported: remove the first field." if count == 6 else ""
    example = "for example 30 2 * * MON-FRI for 02:30 from Monday to Friday"
    return f"A cron expression has five fields ({FIELDS}), {example}; this one has {count}.{seconds}"


def _invalid_field(fields: list[str]) -> str:
    """Name the invalid field and its valid values."""
    for index, (name, valid) in enumerate(VALID.items()):
        if not _is_valid(fields[index], index):
            quartz = "? is not supported: use * instead. " if "?" in fields[index] else ""
            return (
                f"Invalid {name} {fields[index][:40]!r}. {quartz}Use {valid}; or *, a list such as 1,3, a range such as"
                " 1-5, a step such as */2."
            )
    return f"Day {fields[2]} does not exist in month {fields[3]}."


def _is_valid(field: str, index: int) -> bool:
    """Return whether one field is valid, with `*` in all others."""
    fields = ["*"] * 5
    fields[index] = field
    try:
        CronSim(" ".join(fields), _SOME_DAY)
    except CronSimError:
        return False
    return True
