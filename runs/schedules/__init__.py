"""Schedules: timetables that launch runs, and a history with one row for each scheduled time (slot).

The way of a slot: `tick` selects the schedules that are due → `ready` prepares their launches, outside of any
transaction → `locking` locks and reads them → `policy`, which is pure, decides about each slot → `apply` writes the
decisions and the runs in the same transaction. So after a crash at any point a slot is settled together with its run,
or not at all, and the next tick selects it again. Any number of ticks may run at once: each locks the schedules that
it settles, `Schedule.cursor` only grows, and (schedule, slot) is unique in the history and among the runs. All times
come from the database's clock.
"""
