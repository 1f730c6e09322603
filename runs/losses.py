"""Policy for lost attempts: when the next one starts, and whether it has its worker to itself. Pure.

A run that kills the process above it takes every run of that worker along. Whoever was lost in company is excused: the
loss is not counted. Runs that are lost again and again in quick succession are suspects: each is tried after a pause
that grows, on a worker that runs nothing else for a while. There a loss counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from runs.conf import RunsSettings

SUSPECT_LOSSES = 2
"""A run is a suspect after so many quick losses in a row. One is an accident of the machine, as a rule."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Restrictions on the next attempt of a run that was lost."""

    pause_s: float = 0.0
    alone_s: float | None = None
    """How long its worker claims nothing else; None: it needs no worker of its own."""


def caution(durations: Sequence[float], conf: RunsSettings) -> Caution:
    """Restrictions after these lost attempts in a row, the newest first; each is the time from its claim to its end."""
    quick = list(takewhile(lambda duration: duration < conf.lost_quick_s, durations))
    if len(quick) < SUSPECT_LOSSES:
        return Caution()
    doublings = min(len(quick) - SUSPECT_LOSSES, 32)
    return Caution(
        pause_s=min(conf.lost_pause_s * 2.0**doublings, conf.lost_pause_max_s),
        alone_s=min(max(2 * quick[0], conf.lost_alone_s), conf.lost_alone_max_s),
    )
