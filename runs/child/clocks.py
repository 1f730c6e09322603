"""Clocks of Athanor in the experiment's process, bound before any experiment is imported.

An experiment may freeze or replace the clocks of `time`. Tools for that, such as freezegun, replace them in every
loaded module too, but not in fields of objects: so these are fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Clocks(NamedTuple):
    """Original functions of `time`."""

    wall: Callable[[], float]
    """Seconds since the epoch."""
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


CLOCKS = Clocks(time.time, time.monotonic, time.sleep)
