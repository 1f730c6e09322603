"""Stream of events of one open page (server-sent events): an ASGI application.

Events: `lines`, `points`, `state`, `end`. The id of `lines` and `points` holds everything that the page has received,
lines and results by attempt: `1:500/1:12`. A page that reconnects with its last id receives what it missed, once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from django.db import DatabaseError, InterfaceError
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
from runs.live.guard import Watch
from runs.live.hub import Hub
from runs.live.markup import line_html
from runs.live.threads import in_thread
from runs.live.track import Item
from runs.states import Source

BATCH = 500
"""Maximum number of records of one event."""
KEEP_ALIVE_S = 15.0
"""A comment is sent after this long without events, so that proxies and pages keep the connection."""
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
    """Position of one page in the lines and results, and its filter."""

    wanted: Wanted
    lines: Seen = field(default_factory=dict)
    results: Seen = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    """Track → its `end`, for a page that is up to date."""
    state: str = ""

    @property
    def id(self) -> str:
        return f"{following.write(self.lines)}/{following.write(self.results)}"


class Refused(Exception):
    """Stream that is refused with a status and a message."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Streams:
    """Answers GET /admin/runs/run/<run_id>/stream/?level=&source=&text=&at=."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            watch, cursor = await self._admit(scope)
        except Refused as refused:
            headers = {"Cache-Control": "no-store"}
            return await PlainTextResponse(str(refused), refused.status, headers)(scope, receive, send)
        with self._hub.guard.watching(watch):
            return await self._stream(watch, cursor, receive, send)

    async def _admit(self, scope: Scope) -> tuple[Watch, Cursor]:
        """Return the watch, and the cursor from which it continues. Raises Refused."""
        headers, run_id = Headers(scope=scope), int(scope["path_params"]["run_id"])
        try:
            cursor = read_cursor(scope["query_string"].decode("latin-1"), headers.get("last-event-id", ""))
        except ValueError as error:
            raise Refused(400, str(error)) from error
        if scope["method"] != "GET" or not 0 < run_id < 2**63:
            raise Refused(404, "There is no such stream.")
        if self._hub.streams >= runs_settings().streams_max:
            raise Refused(503, "Too many pages are open. This page tries again.")
        cookies = headers.get("cookie", "")
        try:
            answer, user_id = await in_thread(may_watch, cookies, run_id)
        except (DatabaseError, InterfaceError) as error:
            raise Refused(503, "The database does not respond.") from error
        if answer != Answer.MAY:
            raise Refused(answer.value, "You may not watch this run.")
        if self._hub.guard.count(user_id) >= runs_settings().streams_by_user_max:
            raise Refused(429, "You have too many open pages. This one updates itself less often.")
        return Watch(user_id, cookies, run_id, asyncio.Event()), cursor

    async def _stream(self, watch: Watch, cursor: Cursor, receive: Receive, send: Send) -> None:
        """Send events until the run has ended, the page is closed, the guard ends it, or `stream_life_s` is over."""
        bell, run_id = watch.bell, watch.run_id
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        closed = asyncio.create_task(_wait_for_close(receive, bell))
        try:
            async with asyncio.timeout(runs_settings().stream_life_s * random.uniform(0.8, 1.2)):  # noqa: S311  # spread
                async with self._hub.watched(run_id, bell) as feed:
                    await _send(send, f"retry: {RECONNECT_MS}\n\n".encode())
                    async for event in events(feed, cursor, bell, lambda: watch.is_over or closed.done()):
                        await _send(send, event)
        except TimeoutError:
            pass
        finally:
            is_closed = closed.done()
            closed.cancel()
        if not is_closed:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def events(feed: Feed, cursor: Cursor, bell: asyncio.Event, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield everything after the cursor as it arrives, until the run has ended or the stream is over."""
    while not is_over():
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
    """Return the next event of one kind; empty if there is nothing new."""
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
    """Return the next event from the database, for a page that is far behind."""
    reader = reading.Follower if name == "lines" else curves.Follower
    try:
        records, upto, _ = await in_thread(read_stored, reader, feed.run_id, seen, BATCH)
    except (DatabaseError, InterfaceError):
        return b""
    if not records and upto == seen:
        return b""
    seen.update(upto)
    present = line_html if name == "lines" else result_data
    return _event(cursor, name, [Item(record, present(record)) for record in records])


def _event(cursor: Cursor, name: str, items: list[Item]) -> bytes:
    """Encode one event. Without matching lines it carries only the id."""
    if name == "lines":
        text = cursor.wanted.text
        matching = [item for item in items if cursor.wanted.takes(item.record)]
        shown = [line_html(item.record, text) if text else item.data for item in matching]
        return event_of(name, json.dumps("".join(shown)), cursor.id) if shown else f"id: {cursor.id}\n\n".encode()
    return event_of(name, f"[{','.join(item.data for item in items)}]", cursor.id)


def event_of(name: str, data: str, event_id: str = "") -> bytes:
    return f"event: {name}\n{f'id: {event_id}' + chr(10) if event_id else ''}data: {data}\n\n".encode()


def read_cursor(query: str, last_event_id: str) -> Cursor:
    """Parse the position and the filter of a page. Raises ValueError."""
    parameters = {name: values[-1] for name, values in parse_qs(query).items()}
    text, _, results = (last_event_id or parameters.get("at", "")).partition("/")
    source = parameters.get("source", "")
    return Cursor(
        wanted=Wanted(
            level=formatting.level_of(parameters["level"]) if parameters.get("level") else 0,
            source=source if source in Source.values else "",
            text=parameters.get("text", "")[:200],
        ),
        lines=following.read(text),
        results=following.read(results),
    )


async def _wait_for_close(receive: Receive, bell: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    bell.set()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
