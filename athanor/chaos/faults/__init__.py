"""All faults by name: the name of the function that injects it."""

from athanor.chaos.faults import processes, runs, servers  # noqa: F401  # their faults register themselves
from athanor.chaos.faults.base import FAULTS, Fault

__all__ = ["FAULTS", "Fault"]
