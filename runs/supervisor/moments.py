"""Times that a worker writes to the database: by the database's clock, since the worker's own may be an hour off."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from runs.transitions import from_now


class Moment(NamedTuple):
    """A time of this process, in monotonic seconds."""

    at: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic())

    def in_database(self) -> Any:
        """The same moment as an expression, for a statement that is sent at once."""
        return from_now(self.at - time.monotonic())


def in_database(columns: dict[str, Any]) -> dict[str, Any]:
    """`columns` with the moments among their values as expressions."""
    return {name: value.in_database() if isinstance(value, Moment) else value for name, value in columns.items()}
