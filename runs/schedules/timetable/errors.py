"""Errors of timetables."""

from __future__ import annotations


class TimetableError(ValueError):
    """Invalid timetable. `field` is the invalid field; the message says what is wrong and what is valid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
