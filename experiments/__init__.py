"""Public names for authors: the experiment class, the context of a run, limits, retries and exceptions."""

from experiments.base import Experiment
from experiments.context import RunContext, RunLog
from experiments.exceptions import ExperimentFailed, RetryLater, RunCancelled
from experiments.limits import Limits
from experiments.retry import Retry

__all__ = ["Experiment", "ExperimentFailed", "Limits", "Retry", "RetryLater", "RunCancelled", "RunContext", "RunLog"]
