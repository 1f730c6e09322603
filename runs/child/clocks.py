"""Clocks of Athanor's own in the experiment's process, bound before any experiment is imported.

An experiment may freeze or replace the clocks of `time`. Tools for that, such as freezegun, replace them in every
loaded module too, but do not look inside of objects: so ours are fields of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Clocks(NamedTuple):
    """Functions of `time`, as they were when this module was loaded."""

    wall: Callable[[], float]
    """Seconds since the epoch."""
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


CLOCKS = Clocks(time.time, time.monotonic, time.sleep)
