"""Names of signals for messages to people."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9, and `signal 40` for a number without a name of its own (most real-time signals)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
