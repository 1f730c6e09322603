"""What an attempt has said and is not yet known to be in the database. Bounded; shared by the watch loop and the
sender.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from runs.lines import records
from runs.lines.buffer import Stream
from runs.states import AttemptKey


class _Numbered:
    """Entries of one stream with consecutive seqs, `base` + 1 being the first's."""

    def __init__(self) -> None:
        self.base = 0
        self.entries: list[bytes] = []

    @property
    def last(self) -> int:
        return self.base + len(self.entries)


class Window:
    """Numbers the records of one attempt and keeps them until they are stored.

    The watch loop adds, the sender reads what follows a seq, and what is known to be stored is forgotten. It never
    refuses an entry: whoever adds asks `has_room` first and stops reading the child's pipe when there is none.
    """

    def __init__(self, key: AttemptKey, *, max_entries: int, max_bytes: int, tail: int) -> None:
        self.key = key
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._streams = {stream: _Numbered() for stream in Stream}
        self._bytes = 0
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self.tail: deque[bytes] = deque(maxlen=tail)
        """The last entries of the lines, also those that are stored."""

    def add(self, stream: Stream, found: Sequence[bytes]) -> None:
        """Number L (or R) records in their order and keep them."""
        with self._lock:
            numbered = self._streams[stream]
            following = numbered.last + 1
            made = [records.entry(self.key, seq, record) for seq, record in enumerate(found, following)]
            numbered.entries += made
            self._bytes += sum(map(len, made))
            if stream is Stream.LINES:
                self.tail.extend(made)
            self._grown.notify_all()

    @property
    def has_room(self) -> bool:
        with self._lock:
            kept = sum(len(numbered.entries) for numbered in self._streams.values())
            return kept < self._max_entries and self._bytes < self._max_bytes

    def after(self, stream: Stream, seq: int, limit: int) -> list[bytes]:
        """At most `limit` entries that follow `seq`, or the first kept ones if `seq` is older than those."""
        with self._lock:
            numbered = self._streams[stream]
            start = max(seq - numbered.base, 0)
            return numbered.entries[start : start + limit]

    def forget(self, stream: Stream, stored: int) -> bool:
        """Forget all up to the seq `stored`, which the database has. True if that made room."""
        with self._lock:
            numbered = self._streams[stream]
            number = min(stored - numbered.base, len(numbered.entries))
            if number <= 0:
                return False
            self._bytes -= sum(map(len, numbered.entries[:number]))
            del numbered.entries[:number]
            numbered.base += number
            return True

    def emitted(self, stream: Stream) -> int:
        """How many entries there have been: the last seq."""
        with self._lock:
            return self._streams[stream].last

    def stored(self, stream: Stream) -> int:
        """The last seq that is known to be stored."""
        with self._lock:
            return self._streams[stream].base

    def wait_for_more(self, sent: dict[Stream, int], timeout_s: float) -> bool:
        """Block until some stream has entries beyond those `sent`, or the time is over."""
        with self._grown:
            return self._grown.wait_for(lambda: any(self._streams[s].last > seq for s, seq in sent.items()), timeout_s)

    def wake(self) -> None:
        """Let a waiting sender look again, at the end."""
        with self._grown:
            self._grown.notify_all()
