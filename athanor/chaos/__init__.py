"""`./manage.py chaos`: faults by a seeded plan, runs that check themselves, and the invariants afterwards.

plan (what, when) → faults (how) on a stage (whose processes, Redis, database); load (runs of the experiment
`chaos_probe`); sampling (what was seen meanwhile); invariants (what must hold); report. Nothing here is imported by
what runs in production.
"""
