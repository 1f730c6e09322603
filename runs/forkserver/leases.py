"""Until when each child of a fork server may live. Kept by the server process, from what the worker's renewals say."""

from __future__ import annotations

from dataclasses import dataclass

from runs.forkserver.board import Board

READ_EVERY_S = 0.2
"""How often the board of deadlines is read while a child lives."""


@dataclass(slots=True)
class _Lease:
    attempt: str
    before: float | None
    is_over: bool = False


class Leases:
    """Deadlines of children, on the lease clock.

    A child may live until the later of two moments: the one that its spawn gave, and the one on the board, which is
    moved by each renewal of its attempt. Where neither is given, it may live for ever.
    """

    def __init__(self, board: Board | None) -> None:
        self._board = board
        self._leases: dict[int, _Lease] = {}

    def until(self, attempt: str, before: float | None) -> float | None:
        """The deadline of an attempt's child."""
        renewed: float | None = self._board.read().get("until", {}).get(attempt) if self._board else None
        given = [moment for moment in (before, renewed) if moment is not None]
        return max(given, default=None)

    def add(self, number: int, attempt: str, before: float | None) -> None:
        self._leases[number] = _Lease(attempt, before)

    def remove(self, number: int) -> None:
        self._leases.pop(number, None)

    def expired(self, now: float) -> list[int]:
        """The children whose deadline has passed since the last call, by number."""
        expired = []
        for number, lease in self._leases.items():
            until = self.until(lease.attempt, lease.before)
            if not lease.is_over and until is not None and until <= now:
                lease.is_over = True
                expired.append(number)
        return expired
