"""What can run: the class an author writes, and what it is given while it runs."""

from experiments.base import Experiment
from experiments.context import RunContext, RunLog
from experiments.exceptions import ExperimentFailed, RetryLater, RunCancelled
from experiments.limits import Limits
from experiments.retry import Retry

__all__ = ["Experiment", "ExperimentFailed", "Limits", "Retry", "RetryLater", "RunCancelled", "RunContext", "RunLog"]
