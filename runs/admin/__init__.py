"""The admin of runs: the list, a run's page with its lines, the launch page, workers.

Importing it registers everything; Django does so by itself.
"""

from runs.admin import instances, runs, schedules, third_party, workers

__all__ = ["instances", "runs", "schedules", "third_party", "workers"]
