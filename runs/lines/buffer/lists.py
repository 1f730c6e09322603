"""The lists of a run: pushed by its supervisor, drained by flushers, never more than a copy of what is not yet stored.

Promises: entries are appended in order or not at all; a push that was sent twice, a Redis that was wiped and one that
came back with an older state are noticed by the next push; nothing leaves a list before its reader says that it is
stored. Every call takes a bounded time and raises BufferUnavailable if Redis cannot do it. All may be called again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import redis

from runs.conf import runs_settings
from runs.exceptions import BufferFull
from runs.lines.buffer import keys
from runs.lines.buffer.client import available, script
from runs.lines.buffer.keys import Stream
from runs.lines.records import position
from runs.states import AttemptKey

TAIL_LIFE_MS = 24 * 3600 * 1000
"""A tail that nobody moved for so long is forgotten; a later push is then refused once, as after a wipe."""

APPENDED, FULL = 1, 2


class Pushed(NamedTuple):
    """The answer to a push."""

    accepted: bool
    tail: int
    """Last seq of this attempt that Redis has seen; 0 if none, if it was wiped, or if a later attempt is writing."""
    length: int
    """Entries in the list."""


class Backlog(NamedTuple):
    """Entries that wait to be stored, over all runs."""

    runs: int
    entries: int
    """Of the first BACKLOG_RUNS runs."""
    lag_s: float
    """Age of the oldest of their entries, by the clock of its child; 0 if there is none."""
    memory_share: float
    """How full Redis is; 0 where it has no limit."""


BACKLOG_RUNS = 50
"""Most runs that are counted."""


class Lists:
    """Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._push = script(client, "push")
        self._trim = script(client, "trim")
        self._unlock = script(client, "unlock")
        self._clean = script(client, "clean")

    def push(
        self, key: AttemptKey, stream: Stream, *, after: int, entries: Sequence[bytes], reset: bool = False
    ) -> Pushed:
        """Append `entries`, which follow the seq `after`, if that is the last one that Redis has seen of this attempt.

        If not, nothing is changed and `tail` says what it has seen: go on after that, or after what the database has if
        that is more, then with `reset`, which appends whatever came before. Where a later attempt has written, that is
        refused too. Raises BufferFull if the list has `list_max` entries.
        """
        if not entries:
            return Pushed(True, after, 0)
        run = key.run_id
        last = position(entries[-1])[1]
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
        )
        with available(f"take {stream} of run {run}"):
            verdict, tail, length = self._push(
                keys=[keys.entries(run, stream), keys.tail(run, stream), keys.DIRTY], args=[*head, *entries]
            )
        if verdict == FULL:
            raise BufferFull(
                f"The {stream} of run {run} wait in Redis, {length} of them; the next push has to wait too."
            )
        return Pushed(verdict == APPENDED, tail, length)

    def tail(self, key: AttemptKey, stream: Stream) -> int:
        """Last seq of this attempt that Redis has seen; 0 if there is none."""
        with available(f"tell the tail of {stream} of run {key.run_id}"):
            newest = cast("bytes | None", self._client.get(keys.tail(key.run_id, stream)))
        attempt, _, seq = (newest or b"0:0").partition(b":")
        return int(seq) if int(attempt) == key.number else 0

    def head(self, run_id: int, stream: Stream, count: int) -> list[bytes]:
        """The oldest entries, `count` at most."""
        with available(f"read {stream} of run {run_id}"):
            return cast("list[bytes]", self._client.lrange(keys.entries(run_id, stream), 0, count - 1))

    def trim(self, run_id: int, stream: Stream, token: str, entries: Sequence[bytes]) -> bool:
        """Remove stored `entries` from the head. False, and nothing changed, if they are not it or the lock is lost."""
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
        """Become the flusher of a run for `flush_lock_s` at most: the token, or None while another is."""
        token = secrets.token_hex(8)
        with available(f"lock run {run_id}"):
            # GET tells a lock that a first, unanswered try has set from one of another's.
            holder = self._client.set(
                keys.lock(run_id), token, nx=True, px=int(runs_settings().flush_lock_s * 1000), get=True
            )
        return token if holder in (None, token.encode()) else None

    def unlock(self, run_id: int, token: str) -> None:
        """Give the lock back; nothing happens if it has passed to another."""
        with available(f"unlock run {run_id}"):
            self._unlock(keys=[keys.lock(run_id)], args=[token])

    def dirty(self) -> list[int]:
        """Ids of the runs that may have entries to flush, in no order."""
        with available("tell which runs have something to store"):
            return [int(run_id) for run_id in cast("set[bytes]", self._client.smembers(keys.DIRTY))]

    def backlog(self) -> Backlog:
        """Count the entries that wait, and how long they have been waiting."""
        runs = self.dirty()
        lists = [keys.entries(run_id, stream) for run_id in runs[:BACKLOG_RUNS] for stream in Stream]
        with available("tell what waits to be stored"):
            pipeline: Any = self._client.pipeline(transaction=False)
            pipeline.info("memory")
            for name in lists:
                pipeline.llen(name).lindex(name, 0)
            memory, *answers = pipeline.execute()
        heads = [entry for entry in answers[1::2] if entry is not None]
        oldest = min((_time_of(head) for head in heads), default=0.0)
        limit = memory.get("maxmemory", 0)
        share = memory["used_memory"] / limit if limit else 0.0
        return Backlog(len(runs), sum(answers[::2]), max(0.0, time.time() - oldest) if oldest else 0.0, share)

    def clean(self, run_id: int) -> bool:
        """Forget that a run has work, if both its lists are empty; whether they were."""
        with available(f"clean run {run_id}"):
            lists = [keys.entries(run_id, stream) for stream in Stream]
            return bool(self._clean(keys=[*lists, keys.DIRTY], args=[run_id]))

    def discard(self, run_id: int) -> None:
        """Remove everything of a run of which everything is stored."""
        names = [name(run_id, stream) for name in (keys.entries, keys.tail) for stream in Stream]
        with available(f"discard run {run_id}"):
            pipeline: Any = self._client.pipeline(transaction=True)
            pipeline.delete(*names, keys.lock(run_id), keys.cancel(run_id)).srem(keys.DIRTY, run_id).execute()


def _time_of(entry: bytes) -> float:
    """When the record of an entry was written: the first item of its array; now, if it cannot be read."""
    try:
        return float(entry.split(b":", 2)[2][1:].split(b",", 1)[0])
    except (ValueError, IndexError):
        return time.time()
