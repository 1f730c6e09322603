"""What is new of one watched run, found once for all who watch it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from django.db import DatabaseError

from runs.lines import curves, following, reading, records
from runs.lines.buffer.keys import Stream
from runs.lines.following import Seen
from runs.lines.records import ResultRecord
from runs.live import buffered
from runs.live.markup import line_html
from runs.live.snapshot import Snapshot
from runs.live.threads import in_thread
from runs.live.track import KEPT, Track

CHUNK = KEPT // 2
"""Records read at once."""
PACE_S = 0.05
"""News of a run are gathered for so long, and longer the more streams there are to be told."""
PACE_PER_STREAM_S = 0.0005
WORDS_EVERY_S = 0.9
"""How long it runs, and the like, is told so often, and less often the more streams there are."""
WORDS_PER_STREAM_S = 0.01

log = logging.getLogger(__name__)


def result_data(result: ResultRecord) -> str:
    """`[key, kind, step, time, number]`; a result that is no metric is told without its value."""
    return json.dumps([result.key, result.kind, result.step, result.time, result.number])


class Feed:
    """Lives while somebody watches. `version` grows, and all `bells` ring, whenever there is something new."""

    def __init__(self, run_id: int, client: Any) -> None:
        self.run_id, self._client = run_id, client
        self.bells: set[asyncio.Event] = set()
        """One of each stream."""
        self.version = 0
        self.snapshot: Snapshot | None = None
        self.state: Snapshot | None = None
        """The one that is told: words that only count up are not told at each look."""
        self._told_at = 0.0
        self.gone = False
        self.lines: Track | None = None
        self.results: Track | None = None
        self.cache: dict[Any, bytes] = {}
        """Events that were written for one stream and are the same for others; emptied when something is new."""
        self._kicked = asyncio.Event()

    def kick(self) -> None:
        """There may be something new."""
        self._kicked.set()

    def look(self, snapshot: Snapshot | None) -> None:
        """Take what the poll has found; None: there is no such run any more."""
        now = time.monotonic()
        if snapshot is None:
            self.gone = True
        else:
            if self.lines is None or self.results is None:
                self.lines = Track(snapshot.lines, records.decode_line, line_html)
                self.results = Track(snapshot.results, records.decode_result, result_data)
            words_only = self.snapshot is not None and self.snapshot.token == snapshot.token and not snapshot.final
            self.snapshot = snapshot
            if words_only and now - self._told_at < WORDS_EVERY_S + WORDS_PER_STREAM_S * len(self.bells):
                self.kick()
                return
        self.state, self._told_at = self.snapshot, now
        self.tell()
        self.kick()

    def tell(self) -> None:
        self.cache.clear()
        self.version += 1
        for bell in self.bells:
            bell.set()

    @property
    def is_complete(self) -> bool:
        tracks = (self.lines, self.results)
        return self.gone or bool(self.snapshot and self.snapshot.final and all(t and t.complete for t in tracks))

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._kicked.wait()
            self._kicked.clear()
            try:
                if await self.advance():
                    self.tell()
            except (redis.RedisError, OSError, DatabaseError) as error:
                log.debug("the feed of run %s looks again later: %s", self.run_id, error)
            await asyncio.sleep(PACE_S + PACE_PER_STREAM_S * len(self.bells))

    async def advance(self) -> bool:
        """Take one chunk of each; whether there was something."""
        if self.lines is None or self.results is None or self.snapshot is None:
            return False
        moved = await self._advance(self.lines, Stream.LINES, self.snapshot.lines, reading.Follower)
        return await self._advance(self.results, Stream.RESULTS, self.snapshot.results, curves.Follower) or moved

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
            found, seen, complete = await in_thread(read_stored, reader, self.run_id, track.seen, CHUNK)
            track.take_stored(found, seen)
            track.complete = complete
            taken = len(found)
        if taken >= CHUNK:
            self.kick()
        return track.end > before or track.complete != was_complete


def read_stored(reader: Callable[..., Any], run_id: int, seen: Seen, limit: int) -> tuple[list[Any], Seen, bool]:
    """Blocks. Records after `seen`, up to where that is everything, and whether nothing will come any more."""
    follower: following.Reading[Any] = reader(run_id, seen=seen)
    found, complete = follower.advance(limit)
    return found, follower.seen, complete
