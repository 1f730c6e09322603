"""Every fault, by its name, which is that of the function that does it."""

from athanor.chaos.faults import processes, runs, servers  # noqa: F401  # their faults enter themselves
from athanor.chaos.faults.base import FAULTS, Fault

__all__ = ["FAULTS", "Fault"]
