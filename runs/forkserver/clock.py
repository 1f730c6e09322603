"""Clock of leases: includes the sleep of the machine, and is the same in every process of it."""

import time


def lease_clock() -> float:
    """Return seconds since boot including sleep, where the platform supports it; else monotonic seconds."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
