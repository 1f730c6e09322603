"""The stream of events of one open page (server-sent events): an ASGI application.

Events: `lines` and `points` (each with an id that says everything the page has been told, `1:500/1:12`: lines and
results by attempt), `state`, `end`. A page that comes back with the last id is told what it has missed, once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from django.db import DatabaseError
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from runs import formatting
from runs.conf import runs_settings
from runs.lines import curves, following, reading
from runs.lines.following import Seen
from runs.lines.reading import Wanted
from runs.live.access import Answer, may_watch
from runs.live.feed import Feed, read_stored, result_data
from runs.live.hub import Hub
from runs.live.markup import line_html
from runs.live.threads import in_thread
from runs.live.track import Item
from runs.states import Source

BATCH = 500
"""Records of one event."""
KEEP_ALIVE_S = 15.0
"""A comment is sent after so much silence, so that proxies and pages know that the connection lives."""
RECONNECT_MS = 1000
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Cursor:
    """What one page has been told."""

    wanted: Wanted
    lines: Seen = field(default_factory=dict)
    results: Seen = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    """Track → `end` of it, for a page that is up to date."""
    state: str = ""

    @property
    def id(self) -> str:
        return f"{following.write(self.lines)}/{following.write(self.results)}"


class Streams:
    """Answers GET /admin/runs/run/<run_id>/stream/?level=&source=&text=&at=."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, run_id = Headers(scope=scope), int(scope["path_params"]["run_id"])
        try:
            cursor = read_cursor(scope["query_string"].decode("latin-1"), headers.get("last-event-id", ""))
        except ValueError as error:
            return await _refuse(400, str(error), scope, receive, send)
        if scope["method"] != "GET" or not 0 < run_id < 2**63:
            return await _refuse(404, "There is no such stream.", scope, receive, send)
        if self._hub.streams >= runs_settings().streams_max:
            return await _refuse(503, "Too many pages are open; this one asks again.", scope, receive, send)
        try:
            answer = await in_thread(may_watch, headers.get("cookie", ""), run_id)
        except DatabaseError:
            return await _refuse(503, "The database is away.", scope, receive, send)
        if answer != Answer.MAY:
            return await _refuse(answer.value, "You may not watch this run.", scope, receive, send)
        await self._stream(run_id, cursor, receive, send)
        return None

    async def _stream(self, run_id: int, cursor: Cursor, receive: Receive, send: Send) -> None:
        """Send until the run is told to its end, the page is gone, or the stream has lived its time: whoever comes back
        is asked anew whether he may."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        bell = asyncio.Event()
        gone = asyncio.create_task(_gone(receive, bell))
        try:
            async with asyncio.timeout(runs_settings().stream_life_s * random.uniform(0.8, 1.2)):  # noqa: S311  # spread
                async with self._hub.watched(run_id, bell) as feed:
                    await _send(send, f"retry: {RECONNECT_MS}\n\n".encode())
                    async for told in events(feed, cursor, bell, gone):
                        await _send(send, told)
        except TimeoutError:
            pass
        finally:
            is_gone = gone.done()
            gone.cancel()
        if not is_gone:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def events(feed: Feed, cursor: Cursor, bell: asyncio.Event, gone: asyncio.Task[None]) -> AsyncIterator[bytes]:
    """Everything after the cursor, as it comes, until the run is told to its end or the page is gone."""
    while not gone.done():
        bell.clear()
        complete, version = feed.is_complete, feed.version
        news = [event for name in ("lines", "points") if (event := await _news(feed, cursor, name))]
        if feed.state and feed.state.state != cursor.state:
            cursor.state = feed.state.state
            news.append(event_of("state", cursor.state))
        if news:
            yield b"".join(news)
        elif complete:
            yield event_of("end", "{}")
            return
        elif version == feed.version and not await _rung(bell):
            yield b":\n\n"


async def _rung(bell: asyncio.Event) -> bool:
    """Wait for the bell, but not for ever."""
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            await bell.wait()
    except TimeoutError:
        return False
    return True


async def _news(feed: Feed, cursor: Cursor, name: str) -> bytes:
    """The next event of one kind, empty if there is nothing new."""
    track = feed.lines if name == "lines" else feed.results
    if track is None:
        return b""
    seen = cursor.lines if name == "lines" else cursor.results
    place = cursor.places.get(name)
    items = None if place is None else track.since(place)
    if items is None and track.has_after(seen):
        items = track.after(seen)
    if items is None:
        return await _from_database(feed, cursor, name, seen)
    cursor.places[name] = track.end
    items = [item for item in items if item.record.seq > seen.get(item.record.attempt, 0)]  # a page may be ahead
    if not items:
        return b""
    key = (name, place, cursor.wanted if name == "lines" else None, cursor.id) if place is not None else None
    for item in items:
        seen[item.record.attempt] = max(item.record.seq, seen.get(item.record.attempt, 0))
    if key is not None and key in feed.cache:
        return feed.cache[key]
    event = _event(cursor, name, items)
    if key is not None:
        feed.cache[key] = event
    return event


async def _from_database(feed: Feed, cursor: Cursor, name: str, seen: Seen) -> bytes:
    """For a page that is far behind."""
    reader = reading.Follower if name == "lines" else curves.Follower
    try:
        found, upto, _ = await in_thread(read_stored, reader, feed.run_id, seen, BATCH)
    except DatabaseError:
        return b""
    if not found and upto == seen:
        return b""
    seen.update(upto)
    present = line_html if name == "lines" else result_data
    return _event(cursor, name, [Item(record, present(record)) for record in found])


def _event(cursor: Cursor, name: str, items: list[Item]) -> bytes:
    """One event; where no line is wanted, only the id moves on."""
    if name == "lines":
        text = cursor.wanted.text
        matching = [item for item in items if cursor.wanted.takes(item.record)]
        shown = [line_html(item.record, text) if text else item.data for item in matching]
        return event_of(name, json.dumps("".join(shown)), cursor.id) if shown else f"id: {cursor.id}\n\n".encode()
    return event_of(name, f"[{','.join(item.data for item in items)}]", cursor.id)


def event_of(name: str, data: str, event_id: str = "") -> bytes:
    return f"event: {name}\n{f'id: {event_id}' + chr(10) if event_id else ''}data: {data}\n\n".encode()


def read_cursor(query: str, last_event_id: str) -> Cursor:
    """From where a page wants to go on. Raises ValueError."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    text, _, results = (last_event_id or asked.get("at", "")).partition("/")
    source = asked.get("source", "")
    return Cursor(
        wanted=Wanted(
            level=formatting.level_of(asked["level"]) if asked.get("level") else 0,
            source=source if source in Source.values else "",
            text=asked.get("text", "")[:200],
        ),
        lines=following.read(text),
        results=following.read(results),
    )


async def _gone(receive: Receive, bell: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    bell.set()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _refuse(status: int, why: str, scope: Any, receive: Receive, send: Send) -> None:
    await PlainTextResponse(why, status_code=status, headers={"Cache-Control": "no-store"})(scope, receive, send)
