"""Deadlines of the children of a fork server, kept by the server process from the worker's renewals."""

from __future__ import annotations

from dataclasses import dataclass

from runs.forkserver.board import Board

READ_EVERY_S = 0.2
"""Interval between two reads of the board of deadlines while a child is alive."""


@dataclass(slots=True)
class _Lease:
    attempt: str
    before: float | None
    is_over: bool = False


class Leases:
    """Deadlines of children, on the lease clock.

    The deadline of a child is the later of two times: that of its spawn, and that on the board, which each renewal of
    its attempt moves. Without either, it has no deadline.
    """

    def __init__(self, board: Board | None) -> None:
        self._board = board
        self._leases: dict[int, _Lease] = {}

    def until(self, attempt: str, before: float | None) -> float | None:
        """Return the deadline of an attempt's child; None if it has none."""
        renewed: float | None = self._board.read().get("until", {}).get(attempt) if self._board else None
        return max((time for time in (before, renewed) if time is not None), default=None)

    def add(self, number: int, attempt: str, before: float | None) -> None:
        self._leases[number] = _Lease(attempt, before)

    def remove(self, number: int) -> None:
        self._leases.pop(number, None)

    def expired(self, now: float) -> list[int]:
        """Return the numbers of the children that have reached their deadline since the last call."""
        expired = []
        for number, lease in self._leases.items():
            until = self.until(lease.attempt, lease.before)
            if not lease.is_over and until is not None and until <= now:
                lease.is_over = True
                expired.append(number)
        return expired
