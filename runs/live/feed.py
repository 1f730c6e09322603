"""New lines, results and state of one watched run, read once for all its streams."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from django.db import DatabaseError, InterfaceError

from runs.lines import curves, following, reading, records
from runs.lines.buffer.keys import Stream
from runs.lines.buffer.lists import ANNOUNCE_EVERY_MS
from runs.lines.following import Seen
from runs.lines.records import ResultRecord
from runs.live import buffered
from runs.live.markup import line_html
from runs.live.snapshot import Snapshot
from runs.live.threads import in_thread
from runs.live.track import KEPT, Track

CHUNK = KEPT // 2
"""Maximum number of records per read."""
PACE_S = ANNOUNCE_EVERY_MS / 1000
"""Pause between two reads of a run; PACE_PER_STREAM_S more for each of its streams. Not shorter than the time for which
further pushes are not announced: a read with news is followed by another, which finds them.
"""
PACE_PER_STREAM_S = 0.0005
WORDS_EVERY_S = 0.9
"""Texts that only count time are sent this often; WORDS_PER_STREAM_S later for each stream of the run."""
WORDS_PER_STREAM_S = 0.01

log = logging.getLogger(__name__)


def result_data(result: ResultRecord) -> str:
    """Encode a result as `[key, kind, step, time, number]`. A result that is not a metric is sent without its value."""
    return json.dumps([result.key, result.kind, result.step, result.time, result.number])


class Feed:
    """Exists while the run is watched. On any change `version` grows, and all `bells` are set."""

    def __init__(self, run_id: int, client: Any) -> None:
        self.run_id, self._client = run_id, client
        self.bells: set[asyncio.Event] = set()
        """Events to set, one for each stream."""
        self.version = 0
        self.snapshot: Snapshot | None = None
        self.state: Snapshot | None = None
        """Snapshot that streams send: texts that only count time do not change with every poll."""
        self._changed_at = 0.0
        self.is_deleted = False
        self.lines: Track | None = None
        self.results: Track | None = None
        self.cache: dict[Any, bytes] = {}
        """Encoded events that are the same for several streams; cleared on any change."""
        self._kicked = asyncio.Event()
        self._due: set[Stream] = set()

    def kick(self, *streams: Stream) -> None:
        """Request a read: there may be new records of these streams, by default of all."""
        self._due.update(streams or Stream)
        self._kicked.set()

    def update(self, snapshot: Snapshot | None) -> None:
        """Take the snapshot of a poll; None if the run was deleted."""
        now = time.monotonic()
        if snapshot is None:
            self.is_deleted = True
        else:
            if self.lines is None or self.results is None:
                self.lines = Track(snapshot.lines, records.decode_line, line_html)
                self.results = Track(snapshot.results, records.decode_result, result_data)
            words_only = self.snapshot is not None and self.snapshot.token == snapshot.token and not snapshot.final
            self.snapshot = snapshot
            if words_only and now - self._changed_at < WORDS_EVERY_S + WORDS_PER_STREAM_S * len(self.bells):
                self.kick()
                return
        self.state, self._changed_at = self.snapshot, now
        self.announce()
        self.kick()

    def announce(self) -> None:
        self.cache.clear()
        self.version += 1
        for bell in self.bells:
            bell.set()

    @property
    def is_complete(self) -> bool:
        tracks = (self.lines, self.results)
        return self.is_deleted or bool(self.snapshot and self.snapshot.final and all(t and t.complete for t in tracks))

    async def run(self) -> None:
        """Read new records until cancelled."""
        while True:
            await self._kicked.wait()
            self._kicked.clear()
            try:
                if await self.advance():
                    self.announce()
            except (redis.RedisError, OSError, DatabaseError, InterfaceError) as error:
                log.debug("the feed of run %s is read again later: %s", self.run_id, error)
            await asyncio.sleep(PACE_S + PACE_PER_STREAM_S * len(self.bells))

    async def advance(self) -> bool:
        """Read one chunk of the lines and results that are due. Returns whether there were any."""
        due, self._due = self._due, set()
        if self.lines is None or self.results is None or self.snapshot is None:
            return False
        moved = False
        if Stream.LINES in due:
            moved = await self._advance(self.lines, Stream.LINES, self.snapshot.lines, reading.Follower)
        if Stream.RESULTS in due:
            moved |= await self._advance(self.results, Stream.RESULTS, self.snapshot.results, curves.Follower)
        return moved

    async def _advance(self, track: Track, stream: Stream, stored: Seen, reader: Callable[..., Any]) -> bool:
        if track.complete:
            return False
        before, was_complete = track.end, track.complete
        try:
            entries = await buffered.after(self._client, self.run_id, stream, track.seen, CHUNK)
        except (redis.RedisError, OSError):
            entries = []
        taken = track.take_buffered(entries)
        final = self.snapshot is not None and self.snapshot.final
        if not taken and (entries or final or any(seq > track.seen.get(n, 0) for n, seq in stored.items())):
            stored_records, seen, complete = await in_thread(read_stored, reader, self.run_id, track.seen, CHUNK)
            track.take_stored(stored_records, seen)
            track.complete = complete
            taken = len(stored_records)
        if taken:
            self.kick(stream)  # pushes since are perhaps not announced
        return track.end > before or track.complete != was_complete


def read_stored(reader: Callable[..., Any], run_id: int, seen: Seen, limit: int) -> tuple[list[Any], Seen, bool]:
    """Return records after `seen`, the seqs up to which they are complete, and whether they are the last. Blocks."""
    follower: following.Reading[Any] = reader(run_id, seen=seen)
    stored, complete = follower.advance(limit)
    return stored, follower.seen, complete
