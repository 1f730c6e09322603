"""What can be wrong with a timetable."""

from __future__ import annotations


class TimetableError(ValueError):
    """`field` is the one to mend; the message says what is wrong and what would be right."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
