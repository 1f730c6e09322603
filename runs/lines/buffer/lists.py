"""Lists of a run: its supervisor pushes records, flushers remove those that are stored.

A value of a list holds one or more consecutive records, see `runs.lines.blocks`. Values are appended in order or not at
all. The next push detects a push that was sent twice, and a Redis that was wiped or restored to an older state. A value
stays in its list until its reader confirms that it is stored. Each call takes a bounded time, raises BufferUnavailable
if Redis cannot execute it, and may be repeated.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import redis

from runs.conf import runs_settings
from runs.exceptions import BufferCorrupt, BufferFull
from runs.lines import blocks
from runs.lines.buffer import keys
from runs.lines.buffer.client import available, script
from runs.lines.buffer.keys import Stream
from runs.states import AttemptKey

logger = logging.getLogger(__name__)

TAIL_LIFE_MS = 24 * 3600 * 1000
"""Lifetime of a tail that does not change. The next push after it is refused once, as after a wipe."""
ANNOUNCE_EVERY_MS = 30
"""Shortest time between two announcements of pushes to a list on the channel of open pages. Readers of a list that has
news read it again after this time.
"""

APPENDED, FULL = 1, 2
NO_EXPIRY = -1
"""Reply of PTTL for a key without an expiry."""
DIRTY_MAX = 10_000
"""Number of runs whose ids are read at once."""
_RUN_ID = re.compile(rb"[1-9]\d{0,17}")

_FIRST_READ = 8
"""Number of values that `head` reads first. A run with much output has many records in each."""


class Pushed(NamedTuple):
    """Result of a push."""

    accepted: bool
    tail: int
    """Last seq of this attempt that Redis has; 0 if none, after a wipe, or if a later attempt has written."""
    length: int
    """Number of records of the newest attempt in the list."""


class Backlog(NamedTuple):
    """Entries that wait to be stored, of all runs."""

    runs: int
    entries: int
    """Number of entries of the first BACKLOG_RUNS runs."""
    lag_s: float
    """Age of the oldest of these entries, by the clock of its child; 0 if there is none."""
    memory_share: float
    """Used share of the memory of Redis; 0 if it has no limit."""


BACKLOG_RUNS = 50
"""Number of runs whose entries are counted."""


class Lists:
    """Operations on the lists of runs. Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._push = script(client, "push")
        self._trim = script(client, "trim")
        self._unlock = script(client, "unlock")
        self._clean = script(client, "clean")

    def push(
        self, key: AttemptKey, stream: Stream, *, after: int, entries: Sequence[bytes], reset: bool = False
    ) -> Pushed:
        """Append the values `entries`, which follow the seq `after`, if that is the last one that Redis has of this
        attempt.

        If not, nothing changes, and `tail` is the last one that it has: continue after that, or after the last stored
        one if that is greater; then with `reset`, which appends regardless of earlier entries. If a later attempt has
        written, that is refused too. Raises BufferFull if the list has `list_max` records of this attempt.
        """
        if not entries:
            return Pushed(True, after, 0)
        run = key.run_id
        last = blocks.span(entries[-1]).last
        head = (
            key.number,
            after,
            last,
            int(reset),
            runs_settings().list_max,
            TAIL_LIFE_MS,
            run,
            keys.live(run),
            stream,
            ANNOUNCE_EVERY_MS,
        )
        with available(f"store {stream} of run {run}"):
            verdict, tail, length = self._push(
                keys=[keys.entries(run, stream), keys.tail(run, stream), keys.DIRTY, keys.announced(run, stream)],
                args=[*head, *(blocks.sign(run, stream, value) for value in entries)],
            )
        if verdict == FULL:
            raise BufferFull(
                f"The list of {stream} of run {run} is full ({length} records). Pushes wait for the flush."
            )
        return Pushed(verdict == APPENDED, tail, length)

    def tail(self, key: AttemptKey, stream: Stream) -> int:
        """Return the last seq of this attempt that Redis has; 0 if there is none."""
        with available(f"read the tail of {stream} of run {key.run_id}"):
            newest = cast("bytes | None", self._client.get(keys.tail(key.run_id, stream)))
        try:
            attempt, seq = map(int, (newest or b"0:0").split(b":"))
        except ValueError:
            return 0
        return seq if attempt == key.number else 0

    def forget_tail(self, run_id: int, stream: Stream) -> None:
        """Remove the tail: the next push with `reset` is accepted, of any attempt."""
        with available(f"forget the tail of {stream} of run {run_id}"):
            self._client.delete(keys.tail(run_id, stream))

    def oldest(self, key: AttemptKey, stream: Stream) -> int | None:
        """Return the seq of the oldest record of a list; 0 if it is of another attempt, None if the list is empty."""
        with available(f"read the head of {stream} of run {key.run_id}"):
            value = cast("bytes | None", self._client.lindex(keys.entries(key.run_id, stream), 0))
        if value is None:
            return None
        try:
            place = blocks.span(value)
        except ValueError:
            return 0
        return place.first if place.attempt == key.number else 0

    def head(self, run_id: int, stream: Stream, count: int) -> list[bytes]:
        """Return the oldest values with about `count` records, fewer if there are no more."""
        name = keys.entries(run_id, stream)
        values: list[bytes] = []
        records, step = 0, min(count, _FIRST_READ)
        with available(f"read {stream} of run {run_id}"):
            while records < count:
                more = cast("list[bytes]", self._client.lrange(name, len(values), len(values) + step - 1))
                values += more
                records += blocks.count(more)
                if len(more) < step:
                    break
                step = max(1, (count - records) * len(values) // records)
        return values

    def trim(self, run_id: int, stream: Stream, token: str, entries: Sequence[bytes]) -> bool:
        """Remove the stored values `entries` from the head. False, and no change, if it differs or the lock is lost."""
        if not entries:
            return True
        with available(f"trim {stream} of run {run_id}"):
            return bool(
                self._trim(
                    keys=[keys.lock(run_id), keys.entries(run_id, stream)],
                    args=[token, len(entries), entries[0], entries[-1]],
                )
            )

    def lock(self, run_id: int) -> str | None:
        """Lock a run for at most `flush_lock_s`. Return the token, or None if another flusher has the lock."""
        name, token, life_ms = keys.lock(run_id), secrets.token_hex(8), int(runs_settings().flush_lock_s * 1000)
        with available(f"lock run {run_id}"):
            # GET distinguishes a lock that a first try without a response has set from that of another flusher.
            holder = self._client.set(name, token, nx=True, px=life_ms, get=True)
            if holder in (None, token.encode()):
                return token
            left_ms = self._client.pttl(name)
            if left_ms == NO_EXPIRY or left_ms > life_ms:  # no flusher sets such a lock
                self._client.delete(name)
        return None

    def unlock(self, run_id: int, token: str) -> None:
        """Release the lock. Does nothing if another flusher has it."""
        with available(f"unlock run {run_id}"):
            self._unlock(keys=[keys.lock(run_id)], args=[token])

    def dirty(self) -> list[int]:
        """Return ids of runs that may have entries to flush, at most DIRTY_MAX, unordered."""
        try:
            with available("list the runs with entries to store"):
                members = cast("list[bytes]", self._client.srandmember(keys.DIRTY, DIRTY_MAX))
        except BufferCorrupt:
            self._repair({keys.DIRTY: b"set"})
            return []
        if foreign := [member for member in members if not _RUN_ID.fullmatch(member)]:
            with available("remove invalid ids of runs"):
                self._client.srem(keys.DIRTY, *foreign)
        return [int(member) for member in members if _RUN_ID.fullmatch(member)]

    def mark_dirty(self, run_id: int) -> None:
        """Note that a run has entries to flush, as each push does."""
        with available(f"note that run {run_id} has entries to store"):
            self._client.sadd(keys.DIRTY, run_id)

    def has_dirty(self) -> bool:
        """Return whether any run may have entries to flush."""
        with available("ask for runs with entries to store"):
            return bool(self._client.exists(keys.DIRTY))

    def backlog(self) -> Backlog:
        """Measure the number and the age of the entries that wait to be stored."""
        runs = self.dirty()
        lists = [(run_id, stream) for run_id in runs[:BACKLOG_RUNS] for stream in Stream]
        with available("count the entries to store"):
            pipeline: Any = self._client.pipeline(transaction=False)
            pipeline.info("memory")
            for run_id, stream in lists:
                pipeline.lindex(keys.entries(run_id, stream), 0).lindex(keys.entries(run_id, stream), -1)
            memory, *answers = pipeline.execute()
        ends = [(head, end) for head, end in zip(answers[::2], answers[1::2], strict=True) if head and end]
        oldest = min((_time_of(head) for head, _ in ends), default=0.0)
        limit = memory.get("maxmemory", 0)
        share = memory["used_memory"] / limit if limit else 0.0
        waiting = sum(_records_between(head, end) for head, end in ends)
        return Backlog(len(runs), waiting, max(0.0, time.time() - oldest) if oldest else 0.0, share)

    def clean(self, run_id: int) -> bool:
        """Remove a run from the dirty set if both its lists are empty. Return whether they are."""
        with available(f"clean run {run_id}"):
            lists = [keys.entries(run_id, stream) for stream in Stream]
            return bool(self._clean(keys=[*lists, keys.DIRTY], args=[run_id]))

    def discard(self, run_id: int) -> None:
        """Remove all keys of a run whose entries are stored."""
        names = [name(run_id, stream) for name in (keys.entries, keys.tail, keys.announced) for stream in Stream]
        with available(f"discard run {run_id}"):
            pipeline: Any = self._client.pipeline(transaction=True)
            pipeline.delete(*names, keys.lock(run_id), keys.cancel(run_id)).srem(keys.DIRTY, run_id).execute()

    def repair(self, run_id: int) -> None:
        """Remove keys of a run whose type is wrong, after BufferCorrupt. Its supervisor sends their content again."""
        expected = {keys.DIRTY: b"set", keys.lock(run_id): b"string"}
        for stream in Stream:
            expected |= {keys.entries(run_id, stream): b"list", keys.tail(run_id, stream): b"string"}
        self._repair(expected)

    def _repair(self, expected: Mapping[str, bytes]) -> None:
        with available("repair its keys"):
            pipeline: Any = self._client.pipeline(transaction=False)
            for name in expected:
                pipeline.type(name)
            actual = dict(zip(expected, pipeline.execute(), strict=True))
            wrong = [name for name, type_ in expected.items() if actual[name] not in (type_, b"none")]
            if wrong:
                logger.warning("Removing keys of Redis that have a wrong type: %s", ", ".join(wrong))
                self._client.delete(*wrong)


def _records_between(head: bytes, end: bytes) -> int:
    """Count the records of a list from its first and last values. Those of an attempt before the last are missing."""
    try:
        first, last = blocks.span(head), blocks.span(end)
    except ValueError:
        return 1
    return last.last - first.first + 1 if first.attempt == last.attempt else last.last


def _time_of(value: bytes) -> float:
    """Read the time of a value's first record, the first item of its array. Return the current time if unreadable."""
    try:
        return float(value[value.index(b"[") + 1 :].split(b",", 1)[0])
    except (ValueError, IndexError):
        return time.time()
