"""When: pure arithmetic over timetables. No database, no clock of its own; every moment comes in and goes out aware.

A **slot** is a moment of the timetable, in UTC, and its name in the ledger; it is the same whoever asks, and whenever.
It is **due** a little later where the timetable has jitter.

**Daylight saving.** An interval counts elapsed seconds, clocks do not matter to it. A cron expression reads the wall
clock of its zone, and does what Debian's cron does:
- with a fixed time of day (neither minute nor hour starts with `*`), a time that the clocks leap over is taken at the
  first moment after the leap, and a time that comes twice is taken the first time only: once a day stays once a day;
- else (`*/20 * * * *`) it fires whenever the clock shows a matching time: in a repeated hour too, and not in an hour
  that there is not.
A date of a list is treated as a fixed time of day, unless it says its offset.
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
