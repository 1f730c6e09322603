"""The tables. Rows of Run and Attempt change their status only through `runs.transitions`."""

from runs.models.attempt import Attempt, Checkpoint, Worker
from runs.models.output import Artifact, LogLine, Result
from runs.models.run import Run

__all__ = ["Artifact", "Attempt", "Checkpoint", "LogLine", "Result", "Run", "Worker"]
