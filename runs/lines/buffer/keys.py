"""The name of every key and channel that the buffer uses in Redis. No other module spells one.

A run's keys share the hash tag `{run-<id>}`. The dirty set lies outside of it, and the scripts that push and clean
touch both in one step, so the buffer wants one Redis and not a cluster; the broker cannot live on a cluster either.
"""

from __future__ import annotations

from enum import StrEnum


class Stream(StrEnum):
    """The two lists of a run."""

    LINES = "lines"
    RESULTS = "results"


DIRTY = "athanor:buffer:dirty"
"""Set of the ids of runs that may have entries to flush."""

NOTICES = "athanor:buffer:notices"
"""Channel of what workers want to hear at once, see `runs.lines.buffer.notices`."""


def entries(run_id: int, stream: Stream) -> str:
    """List of entries, oldest first."""
    return f"athanor:{{run-{run_id}}}:{stream}"


def tail(run_id: int, stream: Stream) -> str:
    """String `<attempt>:<seq>`: the last entry that was ever pushed. It outlives the trimming of the list."""
    return f"athanor:{{run-{run_id}}}:{stream}:tail"


def lock(run_id: int) -> str:
    """String: the token of the flusher at work."""
    return f"athanor:{{run-{run_id}}}:lock"


def cancel(run_id: int) -> str:
    """String: somebody wants the run cancelled."""
    return f"athanor:{{run-{run_id}}}:cancel"


def live(run_id: int) -> str:
    """Channel: `<stream>:<attempt>:<seq>` after each push, for pages that are open."""
    return f"athanor:{{run-{run_id}}}:live"
