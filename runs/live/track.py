"""Newest lines or results of one watched run, shared by all its streams: bounded and in order. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

from runs.lines.following import Seen
from runs.lines.records import position

KEPT = 2_000
"""Number of records kept for streams that are up to date. Streams further behind read the database."""


class Item(NamedTuple):
    record: Any
    data: str
    """Record as encoded for an event."""


class Track:
    """Takes the records of each attempt in order, without gaps and without duplicates."""

    def __init__(self, seen: Seen, decode: Callable[[bytes], Any], present: Callable[[Any], str]) -> None:
        self.seen = dict(seen)
        self.complete = False
        self._floor = dict(seen)
        self._kept: deque[Item] = deque()
        self._decode, self._present = decode, present
        self.end = 0
        """Number of items taken so far: the place after the newest one."""

    def take_buffered(self, entries: Iterable[bytes]) -> int:
        """Take those entries that continue the sequence of their attempt. Returns their number."""
        before = self.end
        for entry in entries:
            attempt, seq = position(entry)
            if seq == self.seen.get(attempt, 0) + 1:
                self._add(self._decode(entry))
        return self.end - before

    def take_stored(self, records: Iterable[Any], seen: Seen) -> None:
        """Take records from the database, which are complete up to `seen`."""
        for record in records:
            if record.seq > self.seen.get(record.attempt, 0):
                self._add(record)
        for attempt, seq in seen.items():
            self.seen[attempt] = max(seq, self.seen.get(attempt, 0))

    def _add(self, record: Any) -> None:
        self.seen[record.attempt] = record.seq
        self._kept.append(Item(record, self._present(record)))
        self.end += 1
        if len(self._kept) > KEPT:
            oldest = self._kept.popleft().record
            self._floor[oldest.attempt] = max(oldest.seq, self._floor.get(oldest.attempt, 0))

    def has_after(self, seen: Seen) -> bool:
        """Return whether everything after `seen` is kept here."""
        return all(seen.get(attempt, 0) >= seq for attempt, seq in self._floor.items())

    def after(self, seen: Seen) -> list[Item]:
        return [item for item in self._kept if item.record.seq > seen.get(item.record.attempt, 0)]

    def since(self, place: int) -> list[Item] | None:
        """Return the items after `place`, an earlier `end`; None if not all of them are kept."""
        first = self.end - len(self._kept)
        return None if place < first else list(islice(self._kept, place - first, None))
