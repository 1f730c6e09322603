"""The clock of leases: goes on while the machine sleeps, and is the same in every process of it."""

import time


def lease_clock() -> float:
    """Seconds since boot, sleep included, where the platform can tell; else monotonic seconds."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
