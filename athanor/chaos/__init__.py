"""`./manage.py chaos`: faults by a seeded plan, runs that check themselves, and the invariants afterwards.

plan (which fault, when) → faults on a stage (processes, Redis, database and runs of a stack); load (runs of the
experiment `chaos_probe`); sampling (states during the campaign); invariants (checks afterwards); report. No code that
runs in production imports this package.
"""
