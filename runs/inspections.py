"""Where a run is right now: the Python stacks of its threads and its process tree, without stopping it."""

from __future__ import annotations

from typing import TypedDict

from runs.outcomes import ProcessRow


class Inspection(TypedDict):
    """Stored as `Attempt.inspection`, by the attempt's supervisor when asked, and by itself when the run stalls."""

    at: str
    """ISO 8601, by the clock of the worker."""
    why: str
    """"asked" or "stalled"."""
    stacks: str
    """Python stacks of all threads of the experiment's process, as faulthandler writes them; empty if it did not answer
    in time."""
    processes: list[ProcessRow]
    """Parents before children."""
    lines_emitted: int
    """So far."""
