"""Models. Only `runs.transitions` changes the status of runs and attempts."""

from runs.models.attempt import Attempt, Checkpoint, Worker
from runs.models.audit import AuditEntry
from runs.models.output import Artifact, LogLine, Result
from runs.models.rule import AccessRule
from runs.models.run import Run
from runs.models.schedule import Pulse, Schedule, Slot

__all__ = [
    "AccessRule", "Artifact", "Attempt", "AuditEntry", "Checkpoint", "LogLine", "Pulse", "Result", "Run", "Schedule",
    "Slot", "Worker",
]  # fmt: skip
