"""Window: the lines and results of an attempt that may not be in the database yet. Bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from runs.lines import blocks
from runs.lines.buffer import Stream
from runs.states import AttemptKey
from runs.supervisor.redaction import Redactor


class _Numbered:
    """Records of one stream, with consecutive seqs from `base` + 1."""

    def __init__(self) -> None:
        self.base = 0
        self.records: list[bytes] = []

    @property
    def last(self) -> int:
        return self.base + len(self.records)


class Window:
    """Number the records of one attempt, and keep them until they are stored. Thread-safe.

    The watch loop adds records, the sender reads those after a seq, and stored records are dropped. `add` accepts every
    record: the caller checks `has_room`, and does not read the child's pipe while there is none.
    """

    def __init__(self, key: AttemptKey, *, max_entries: int, max_bytes: int, tail: int) -> None:
        self.key = key
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._streams = {stream: _Numbered() for stream in Stream}
        self._bytes = 0
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._tail: deque[bytes] = deque(maxlen=tail)
        self.redactor: Redactor | None = None
        """Set before the first record, if the run has secrets."""

    def add(self, stream: Stream, added: Sequence[bytes]) -> None:
        """Number L (or R) records in their order, and keep them."""
        if not added:
            return
        if self.redactor is not None:
            added = self.redactor.records(added)
        with self._lock:
            numbered = self._streams[stream]
            numbered.records += added
            self._bytes += sum(map(len, added))
            if stream is Stream.LINES:
                self._tail.extend(added)
            self._grown.notify_all()

    @property
    def has_room(self) -> bool:
        with self._lock:
            kept = sum(len(numbered.records) for numbered in self._streams.values())
            return kept < self._max_entries and self._bytes < self._max_bytes

    def after(self, stream: Stream, seq: int, limit: int) -> list[bytes]:
        """Return blocks of at most `limit` records after `seq`, or of the first kept ones if those after `seq` were
        dropped.
        """
        with self._lock:
            numbered = self._streams[stream]
            start = max(seq - numbered.base, 0)
            first = numbered.base + start + 1
            records = numbered.records[start : start + limit]
        return blocks.pack(self.key, first, records)

    @property
    def tail(self) -> list[bytes]:
        """Return the last lines as entries, including stored ones."""
        with self._lock:
            first, records = self._streams[Stream.LINES].last - len(self._tail) + 1, list(self._tail)
        return [entry for block in blocks.pack(self.key, first, records) for entry in blocks.entries(block)]

    def forget(self, stream: Stream, stored: int) -> bool:
        """Drop the records up to the seq `stored`, which the database has. True if that made room."""
        with self._lock:
            numbered = self._streams[stream]
            number = min(stored - numbered.base, len(numbered.records))
            if number <= 0:
                return False
            self._bytes -= sum(map(len, numbered.records[:number]))
            del numbered.records[:number]
            numbered.base += number
            return True

    def emitted(self, stream: Stream) -> int:
        """Return the number of records that were added: the last seq."""
        with self._lock:
            return self._streams[stream].last

    def stored(self, stream: Stream) -> int:
        """Return the last seq that is known to be stored."""
        with self._lock:
            return self._streams[stream].base

    def wait_for_more(self, sent: dict[Stream, int], timeout_s: float) -> bool:
        """Block until a stream has records after those `sent`, at most `timeout_s`. Return whether one has."""
        with self._grown:
            return self._grown.wait_for(lambda: any(self._streams[s].last > seq for s, seq in sent.items()), timeout_s)

    def wake(self) -> None:
        """Wake a waiting sender."""
        with self._grown:
            self._grown.notify_all()
