"""Times that a worker writes to the database, by the database's clock: the worker's own may be wrong."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from runs.statements import from_now


class Timestamp(NamedTuple):
    """Time at which something happened in this process."""

    at: float
    """Monotonic seconds."""

    @classmethod
    def now(cls) -> Timestamp:
        return cls(time.monotonic())

    def in_database(self) -> Any:
        """Return this time as an expression, for a statement that is sent immediately."""
        return from_now(self.at - time.monotonic())


def in_database(columns: dict[str, Any]) -> dict[str, Any]:
    """Replace the timestamps among the values of `columns` by expressions."""
    return {name: value.in_database() if isinstance(value, Timestamp) else value for name, value in columns.items()}
