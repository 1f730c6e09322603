"""Names of all keys and channels that the buffer uses in Redis. No other module contains one.

The keys of a run share the hash tag `{run-<id>}`. The dirty set does not, and the scripts that push and clean access
both, so the buffer needs a single Redis, not a cluster. The broker does not support a cluster either.
"""

from __future__ import annotations

from enum import StrEnum


class Stream(StrEnum):
    """Lists of a run."""

    LINES = "lines"
    RESULTS = "results"


DIRTY = "athanor:buffer:dirty"
"""Set of the ids of runs that may have entries to flush."""

NO_SCHEDULES = "athanor:schedules:none"
"""String that expires: there are no schedules, and ticks may rest."""

NOTICES = "athanor:buffer:notices"
"""Channel of notices to workers, see `runs.lines.buffer.notices`."""


def entries(run_id: int, stream: Stream) -> str:
    """List of entries, oldest first."""
    return f"athanor:{{run-{run_id}}}:{stream}"


def tail(run_id: int, stream: Stream) -> str:
    """String `<attempt>:<seq>`: the last entry that was pushed. It outlives the trimming of the list."""
    return f"athanor:{{run-{run_id}}}:{stream}:tail"


def lock(run_id: int) -> str:
    """String: token of the flusher that holds the lock."""
    return f"athanor:{{run-{run_id}}}:lock"


def cancel(run_id: int) -> str:
    """String: the notice of the cancel request of the run, see `runs.lines.buffer.notices`."""
    return f"athanor:{{run-{run_id}}}:cancel"


def announced(run_id: int, stream: Stream) -> str:
    """String: exists for `ANNOUNCE_EVERY_MS` after a push was announced. Pushes meanwhile are not announced."""
    return f"athanor:{{run-{run_id}}}:{stream}:announced"


def live(run_id: int) -> str:
    """Channel: `<stream>:<attempt>:<seq>` after a push, for open pages; see `ANNOUNCE_EVERY_MS`."""
    return f"athanor:{{run-{run_id}}}:live"
