"""Admin of runs: the list, a run's page with its log, the launch page, schedules, workers.

Django imports this package, which registers everything.
"""

from runs.admin import audit_log, instances, rules, runs, schedules, third_party, workers

__all__ = ["audit_log", "instances", "rules", "runs", "schedules", "third_party", "workers"]
