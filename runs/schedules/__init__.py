"""Schedules: launches by the clock, and the ledger that says what became of every slot.

The way of a slot: `tick` finds the schedules that are due → `ready` makes their launches ready, outside of any
transaction → `locking` locks and reads them → `policy`, which is pure, decides about each slot → `apply` writes the
decisions, runs included, in the same transaction. So after a crash at any point a slot is settled with its run or not
at all, and the next tick finds it. Any number of ticks may be at work: each locks what it settles, `Schedule.cursor`
only grows, and (schedule, slot) is unique both in the ledger and among the runs. The clock is the database's alone.
"""
