"""Limits on requests before Django sees them: size of the body, time for its arrival, number of concurrent requests.

Django stores a body of any size in a temporary file, whoever sends it, and uses a thread for each request. Here, a
body is read into memory up to its limit, and a request uses a thread only when it is complete.
"""

from __future__ import annotations

import asyncio
import math
from http.cookies import CookieError, SimpleCookie

from django.conf import settings
from django.db import DatabaseError
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from athanor.conf import web_settings
from runs.live.access import user_of
from runs.live.threads import in_thread

LOGIN = "/admin/login/"


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            turn = Turn(self._turns, send)
            body = await read_body(scope, receive)
            await turn.take()
        except Gone:
            return None
        except Refused as refused:
            headers = {"Connection": "close"} | ({"Retry-After": "10"} if refused.status == 503 else {})
            return await PlainTextResponse(str(refused), refused.status, headers)(scope, receive, send)
        try:
            return await self._app(scope, replay(body, receive), turn.send)
        finally:
            turn.give_back()


class Turn:
    """Turn of a request among those that Django handles at once, from `take` until its response starts."""

    def __init__(self, turns: asyncio.Semaphore, send: Send) -> None:
        self._turns, self._send, self._has = turns, send, False

    async def take(self) -> None:
        try:
            async with asyncio.timeout(web_settings().requests_wait_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Refused(503, "The server is busy. Try again in a few seconds.") from error
        self._has = True

    def give_back(self) -> None:
        if self._has:
            self._has = False
            self._turns.release()

    async def send(self, message: Message) -> None:
        self.give_back()
        await self._send(message)


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
    try:
        if settings.SESSION_COOKIE_NAME not in SimpleCookie(cookies):
            return False
        return bool(await in_thread(lambda: user_of(cookies).is_authenticated))
    except CookieError:
        return False
    except DatabaseError as error:
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
