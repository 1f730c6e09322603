"""Policy for lost attempts: when the next one starts, and whether it has its worker to itself. Pure.

A run that kills its worker's processes ends every run of that worker. A loss together with other runs is excused: it
does not count. A run that is lost repeatedly in quick succession is a suspect: its next attempt starts after a growing
pause, on a worker that executes nothing else for a while. There a loss counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from runs.conf import RunsSettings

SUSPECT_LOSSES = 2
"""Number of quick losses in a row that make a run a suspect. A single one is usually a failure of the machine."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Restrictions on the next attempt of a run that was lost."""

    pause_s: float = 0.0
    alone_s: float | None = None
    """Seconds for which its worker claims no other run; None if it may share a worker."""


def caution(durations: Sequence[float], conf: RunsSettings) -> Caution:
    """Return the restrictions after losses in a row. `durations` are seconds from claim to end, newest first."""
    quick = list(takewhile(lambda duration: duration < conf.lost_quick_s, durations))
    if len(quick) < SUSPECT_LOSSES:
        return Caution()
    doublings = min(len(quick) - SUSPECT_LOSSES, 32)
    return Caution(
        pause_s=min(conf.lost_pause_s * 2.0**doublings, conf.lost_pause_max_s),
        alone_s=min(max(2 * quick[0], conf.lost_alone_s), conf.lost_alone_max_s),
    )
