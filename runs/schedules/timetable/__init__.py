"""Timetables: pure computation of scheduled times. No database, no access to the clock; all datetimes are aware.

A **slot** is a scheduled time in UTC. It identifies a row of the history, and does not depend on when it is computed.
A slot is **due** at its time, or later if the timetable has jitter.

**Daylight saving.** An interval counts elapsed seconds and ignores clock changes. A cron expression follows the wall
clock of its zone, as Debian's cron does:
- With a fixed time of day (neither minute nor hour starts with `*`), a time that the clocks skip runs at the first
  moment after the gap, and a time that occurs twice runs the first time only: once a day stays once a day.
- Otherwise (`*/20 * * * *`) it runs whenever the clock shows a matching time: twice in a repeated hour, and not at all
  in a skipped hour.
A date of a list counts as a fixed time of day, unless it has an offset.
"""

from runs.schedules.timetable.cron import Cron
from runs.schedules.timetable.describe import Preview, preview, words
from runs.schedules.timetable.errors import TimetableError
from runs.schedules.timetable.slots import Fire, Timetable
from runs.schedules.timetable.zones import Change, changes, find_zone, instant, next_change, resolved

__all__ = [
    "Change",
    "Cron",
    "Fire",
    "Preview",
    "Timetable",
    "TimetableError",
    "changes",
    "find_zone",
    "instant",
    "next_change",
    "preview",
    "resolved",
    "words",
]
