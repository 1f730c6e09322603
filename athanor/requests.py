"""Limits on requests before Django sees them: size of the body, time for its arrival, number of concurrent requests.

Django stores a body of any size in a temporary file, whoever sends it, and uses a thread for each request. Here, a
body is read into memory up to its limit, and a request uses a thread only when it is complete.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http.cookie import parse_cookie
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from athanor.conf import web_settings
from runs.live.access import user_of
from runs.live.threads import in_thread

LOGIN = "/admin/login/"
LOGINS_MAX = 4
"""Number of logins at once that a web process passes to Django."""


class Refused(Exception):
    """Request that is refused with a status and a message."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Gone(Exception):
    """Client that closed the connection before its request was complete."""


class Limits:
    """ASGI middleware in front of Django. For one event loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(web_settings().requests_max)
        self._sending = asyncio.Semaphore(web_settings().responses_max)
        self._logins = asyncio.Semaphore(LOGINS_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            body = await read_body(scope, receive)
            async with self._door(scope):
                await self._pass_on(scope, replay(body, receive), send)
        except Gone:
            return None
        except Refused as refused:
            headers = {"Connection": "close"} | ({"Retry-After": "10"} if refused.status == 503 else {})
            return await PlainTextResponse(str(refused), refused.status, headers)(scope, receive, send)

    @asynccontextmanager
    async def _door(self, scope: Scope) -> AsyncIterator[None]:
        """Let few logins in at once: their passwords are checked one after the other, and other pages need turns."""
        if scope["path"] != LOGIN or scope["method"] != "POST":
            yield
            return
        await acquire(self._logins)
        try:
            yield
        finally:
            self._logins.release()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = Turn(self._turns, self._sending, send)
        await turn.take()
        try:
            await self._app(scope, receive, turn.send)
        finally:
            turn.give_back()


class Turn:
    """Turn of a request among those that Django handles at once, from `take` until its response starts; then among
    those that are sent. Without a free place there, it keeps the first: a slow client has a thread and a connection.
    """

    def __init__(self, turns: asyncio.Semaphore, sending: asyncio.Semaphore, send: Send) -> None:
        self._turns, self._sending, self._send = turns, sending, send
        self._held: asyncio.Semaphore | None = None

    async def take(self) -> None:
        await acquire(self._turns)
        self._held = self._turns

    def give_back(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    async def send(self, message: Message) -> None:
        if self._held is self._turns and not self._sending.locked():
            await self._sending.acquire()  # does not wait
            self.give_back()
            self._held = self._sending
        await self._send(message)


async def acquire(places: asyncio.Semaphore) -> None:
    """Wait for a place. Raises Refused after `requests_wait_s`."""
    try:
        async with asyncio.timeout(web_settings().requests_wait_s):
            await places.acquire()
    except TimeoutError as error:
        raise Refused(503, "The server is busy. Try again in a few seconds.") from error


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the body. Raises Refused or Gone."""
    limit = await limit_of(scope)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(web_settings().body_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    raise too_large(limit)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError as error:
        raise Refused(408, f"The request did not arrive in {web_settings().body_s:g} seconds.") from error


async def limit_of(scope: Scope) -> int:
    """Return the largest size of this request's body. Raises Refused if its headers name a larger one."""
    limits, headers = web_settings(), Headers(scope=scope)
    length = headers.get("content-length", "")
    if not length or (size := number(length)) <= limits.anonymous_body_max_bytes:
        return limits.anonymous_body_max_bytes
    if scope["path"] == LOGIN or not await is_logged_in(headers.get("cookie", "")):
        raise too_large(limits.anonymous_body_max_bytes)
    if size > limits.body_max_bytes:
        raise too_large(limits.body_max_bytes)
    return limits.body_max_bytes


def number(length: str) -> float:
    return int(length) if length.isdecimal() and len(length) < 20 else math.inf


async def is_logged_in(cookies: str) -> bool:
    if settings.SESSION_COOKIE_NAME not in parse_cookie(cookies):
        return False
    try:
        return bool(await in_thread(lambda: user_of(cookies).is_authenticated))
    except (DatabaseError, InterfaceError) as error:
        raise Refused(503, "The database does not respond.") from error


def too_large(limit: int) -> Refused:
    return Refused(413, f"The request is larger than {limit} bytes.")


def replay(body: bytes, receive: Receive) -> Receive:
    """Return an ASGI `receive` that yields the body, then the messages after it."""
    rest = [body]

    async def receive_again() -> Message:
        if rest:
            return {"type": "http.request", "body": rest.pop(), "more_body": False}
        return await receive()

    return receive_again
