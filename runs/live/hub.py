"""One Redis subscription and one database poll for all streams of this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis
import redis.asyncio
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from runs.conf import runs_settings
from runs.lines.buffer import keys
from runs.lines.buffer.client import TIMEOUT_S
from runs.lines.buffer.keys import Stream
from runs.live.feed import Feed
from runs.live.guard import Guard
from runs.live.snapshot import read_snapshots
from runs.live.threads import in_thread

AGAIN_S = 1.0
"""Pause before the next attempt to connect to Redis."""
CLOSE_TRIES, CLOSE_TRY_S = 3, 1.0
"""Number of times that tasks are cancelled at the end, and the longest wait for them each time."""
SILENCE_S = 10.0
"""A ping is sent after this long without a message; the second one without an answer ends the subscription."""

log = logging.getLogger(__name__)


class Hub:
    """Belongs to one event loop. Does nothing while no page is open."""

    def __init__(self) -> None:
        self._feeds: dict[int, tuple[Feed, asyncio.Task[None]]] = {}
        self._by_channel: dict[bytes, Feed] = {}
        self._client: Any = None
        self._pubsub: Any = None
        self._workers: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self.guard = Guard()

    @property
    def streams(self) -> int:
        return sum(len(feed.bells) for feed, _ in self._feeds.values())

    @asynccontextmanager
    async def watched(self, run_id: int, bell: asyncio.Event) -> AsyncIterator[Feed]:
        """Yield the feed of a run; `bell` is set on any change of it."""
        feed = await self._join(run_id)
        feed.bells.add(bell)
        try:
            yield feed
        finally:
            feed.bells.discard(bell)
            if not feed.bells:
                await self._leave(run_id)

    async def close(self) -> None:
        tasks = [*self._workers, *(task for _, task in self._feeds.values())]
        for _ in range(CLOSE_TRIES):
            for task in tasks:
                task.cancel()
            if tasks and (await asyncio.wait(tasks, timeout=CLOSE_TRY_S))[1]:
                continue  # a client's time-out can swallow a cancel
            break
        if self._client is not None:
            await self._client.aclose()

    async def _join(self, run_id: int) -> Feed:
        self._start()
        if run_id not in self._feeds:
            feed = Feed(run_id, self._client)
            self._feeds[run_id] = (feed, asyncio.create_task(feed.run()))
            channel = keys.live(run_id).encode()
            self._by_channel[channel] = feed
            self._woken.set()
            if self._pubsub is not None:
                with contextlib.suppress(redis.RedisError, OSError):
                    await self._pubsub.subscribe(channel)
        return self._feeds[run_id][0]

    async def _leave(self, run_id: int) -> None:
        feed, task = self._feeds.pop(run_id, (None, None))
        if feed is None or task is None:
            return
        task.cancel()
        channel = keys.live(run_id).encode()
        self._by_channel.pop(channel, None)
        if self._pubsub is not None:
            with contextlib.suppress(redis.RedisError, OSError):
                await self._pubsub.unsubscribe(channel)

    def _start(self) -> None:
        if self._workers:
            return
        self._client = redis.asyncio.Redis.from_url(
            settings.REDIS_URL, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self._workers = [asyncio.create_task(each) for each in (self._poll(), self._listen(), self.guard.run())]

    async def _poll(self) -> None:
        """Read snapshots of all watched runs periodically."""
        while True:
            if not self._feeds:
                await self._woken.wait()
            self._woken.clear()  # before the read: a stream that joins from now on wakes it again
            watched = {run_id: feed for run_id, (feed, _) in self._feeds.items() if not feed.is_complete}
            try:
                snapshots = await in_thread(read_snapshots, list(watched)) if watched else {}
                for run_id, feed in watched.items():
                    feed.update(snapshots.get(run_id))
            except (DatabaseError, InterfaceError) as error:
                log.info("open pages wait for the database: %s", str(error).strip())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), runs_settings().stream_poll_s)

    async def _listen(self) -> None:
        """Receive notices of new records. The poll replaces notices that are missed while Redis does not answer."""
        level = logging.WARNING
        while True:
            try:
                await self._receive()
            except (redis.RedisError, OSError) as error:
                level = logging.WARNING if self._pubsub is not None else level
                log.log(level, "open pages are served from the database until Redis is back: %s", error)
                level = logging.DEBUG  # once per outage
            finally:
                self._pubsub = None
            await asyncio.sleep(AGAIN_S)

    async def _receive(self) -> None:
        silent = 0
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(keys.NOTICES)  # so that there is always a subscription
            self._pubsub = pubsub  # from now on `_join` subscribes
            if self._by_channel:
                await pubsub.subscribe(*self._by_channel)
            while silent < 2:
                message = await pubsub.get_message(timeout=SILENCE_S)
                if message is None:
                    silent += 1
                    await pubsub.ping()
                    continue
                silent = 0
                if message["type"] == "message" and (feed := self._by_channel.get(message["channel"])):
                    feed.kick(*(stream for stream in Stream if message["data"].startswith(stream.encode())))
