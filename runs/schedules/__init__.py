"""Schedules: what is launched by the clock, and the ledger that says of every slot what became of it.

The way of a slot: `ticking` finds the schedules that are due → `accounts` locks and reads them → `deciding`, which is
pure, says what becomes of each slot → `writing` enters it all, runs included, in the same transaction. Thus after a
crash at any point a slot is settled with its run or not at all, and the next tick finds it. Any number of ticks may be
at work: each locks what it settles, `Schedule.cursor` only grows, and (schedule, slot) is unique both in the ledger and
among the runs. The clock is the database's alone.
"""
