"""Protections that a test may switch off, by ATHANOR_TEST_WITHOUT, to see that chaos notices. In production none can.

Imports nothing, since also the smallest process asks here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLE = "ATHANOR_TEST_WITHOUT"
"""Names of protections, separated by commas."""
TEST_PREFIX = "ATHANOR_TEST_"

PROTECTIONS: dict[str, str] = {
    "lease_deadline": "the fork server ends the children of a worker that did not renew in time",
    "fencing": "what an attempt writes is dropped once the attempt was taken over",
    "idempotent_rows": "a line or result that is stored already is passed over",
    "trim_check": "one flusher at a time, which removes from Redis only what it has read",
    "tree_kill": "with a child, everything that it has started is ended",
    "replay": "what Redis has taken is kept until the database has it, and sent again after a wipe",
    "final_drain": "a supervisor stores what it still holds before it writes the end",
    "recovery": "attempts whose worker vanished are ended, so that their runs go on",
    "resend": "pending runs whose wake-up vanished get another one",
}


def named(environ: Mapping[str, str]) -> frozenset[str]:
    """What is switched off in an environment; may hold names that there are not. Pure."""
    return frozenset(name.strip() for name in environ.get(VARIABLE, "").split(",") if name.strip())


def trouble(environ: Mapping[str, str], *, production: bool) -> str:
    """Why no process may start in this environment; empty if it may. Pure."""
    if production and (found := sorted(name for name in environ if name.startswith(TEST_PREFIX))):
        return f"{', '.join(found)} is for tests; this place is declared to be production (ATHANOR_PRODUCTION=1)."
    if unknown := sorted(named(environ) - PROTECTIONS.keys()):
        return f"{VARIABLE} names no protection: {', '.join(unknown)}. There are {', '.join(PROTECTIONS)}."
    return ""


_off = named(os.environ)


def is_off(protection: str) -> bool:
    """Whether this process does without a protection."""
    return protection in _off
