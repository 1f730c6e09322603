"""Limits on requests in front of Django, and the headers of each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from athanor import requests
from athanor.conf import WebSettings
from athanor.headers import DEFAULTS, SecurityHeaders
from athanor.middleware import CONTENT_SECURITY_POLICY
from tests.web import session_of

pytestmark = pytest.mark.any_database
SMALL = WebSettings(body_max_bytes=1000, anonymous_body_max_bytes=100, body_s=0.2, requests_max=2, requests_wait_s=0.2)


class Exchange:
    """One request with a body in chunks, and its answer. Without `ends` the last chunk never comes."""

    def __init__(self, *chunks: bytes, ends: bool = True, path: str = "/admin/", **headers: str) -> None:
        encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": encoded, "scheme": "http"}
        self._chunks, self._ends = list(chunks), ends
        self.read, self.status, self.text = 0, 0, b""

    async def receive(self) -> Message:
        if not self._chunks and (self.read or not self._ends):
            await asyncio.Event().wait()
        self.read += 1
        body = self._chunks.pop(0) if self._chunks else b""
        return {"type": "http.request", "body": body, "more_body": bool(self._chunks) or not self._ends}

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    assert not message["more_body"]
    await PlainTextResponse(message["body"])(scope, receive, send)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "web_settings", lambda: SMALL)


def ask(exchange: Exchange, app: Any = echo) -> Exchange:
    asyncio.run(requests.Limits(app)(exchange.scope, exchange.receive, exchange.send))
    return exchange


@pytest.mark.parametrize(
    ("exchange", "status", "read"),
    [
        (Exchange, 200, 1),
        (lambda: Exchange(b"x" * 100), 200, 1),
        (lambda: Exchange(b"x" * 60, b"x" * 40), 200, 2),
        (lambda: Exchange(b"x" * 60, b"x" * 41, b"x" * 10**6), 413, 2),
        (lambda: Exchange(b"x" * 10**6, content_length="1000000"), 413, 0),
        (lambda: Exchange(b"x", content_length="9" * 5000), 413, 0),
        (lambda: Exchange(b"x", content_length="-5"), 413, 0),
        (lambda: Exchange(b"x" * 500, content_length="500", cookie="sessionid=forged"), 413, 0),
        (lambda: Exchange(b"x" * 500, content_length="500", cookie="=;;\x01"), 413, 0),
        (lambda: Exchange(b"x", ends=False), 408, 1),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_body_of_the_anonymous_is_small_and_arrives_in_time(
    exchange: Callable[[], Exchange], status: int, read: int
) -> None:
    asked = ask(exchange())
    assert (asked.status, asked.read) == (status, read)
    assert (status == 200) == (set(asked.text) <= {ord("x")})


@pytest.mark.parametrize(
    ("size", "path", "status"),
    [(1000, "/admin/", 200), (1001, "/admin/", 413), (101, "/admin/login/", 413), (100, "/admin/login/", 200)],
)
@pytest.mark.django_db(transaction=True)
def test_who_is_logged_in_may_send_more_but_not_to_the_login(size: int, path: str, status: int) -> None:
    cookie = f'other={{"x": 1}}; sessionid={session_of(User.objects.create(username="ada"))}'
    asked = ask(Exchange(b"x" * size, content_length=str(size), path=path, cookie=cookie))
    assert asked.status == status


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


@pytest.mark.parametrize(("app", "status"), [(never, 503), (slowly, 200)])
def test_requests_wait_for_their_turn_but_not_for_the_downloads_of_others(app: Any, status: int) -> None:
    async def several() -> int:
        limits = requests.Limits(app)
        asked = [Exchange() for _ in range(3)]
        tasks = [asyncio.create_task(limits(each.scope, each.receive, each.send)) for each in asked]
        await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limits._turns._value == SMALL.requests_max, "a request that is cancelled gives its turn back"
        return asked[2].status

    assert asyncio.run(several()) == status


def test_logins_do_not_take_the_turns_of_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "LOGINS_MAX", 1)

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == requests.LOGIN:
            await asyncio.Event().wait()
        await echo(scope, receive, send)

    async def statuses() -> list[int]:
        limits = requests.Limits(held)
        asked = [Exchange(path=path) for path in (*[requests.LOGIN] * 3, "/admin/")]
        tasks = [asyncio.create_task(limits(each.scope, each.receive, each.send)) for each in asked]
        await asyncio.wait(tasks[1:], timeout=20)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limits._logins._value, limits._turns._value) == (1, SMALL.requests_max)
        return [each.status for each in asked]

    assert asyncio.run(statuses()) == [0, 503, 503, 200]


def test_downloads_beyond_their_number_keep_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "web_settings", lambda: replace(SMALL, responses_max=1))

    async def statuses() -> list[int]:
        limits = requests.Limits(slowly)
        asked = [Exchange() for _ in range(4)]
        tasks = [asyncio.create_task(limits(each.scope, each.receive, each.send)) for each in asked]
        await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limits._turns._value, limits._sending._value) == (SMALL.requests_max, 1)
        return [each.status for each in asked]

    assert asyncio.run(statuses()) == [200, 200, 200, 503]


def test_a_client_that_goes_costs_no_turn() -> None:
    exchange = Exchange()

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    asyncio.run(requests.Limits(never)(exchange.scope, gone, exchange.send))
    assert exchange.status == 0


async def public(_: Request) -> PlainTextResponse:
    return PlainTextResponse("", headers={"Cache-Control": "public"})


async def capital(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a header's name as Django writes it."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"public")]})


@pytest.mark.parametrize(
    ("app", "scheme", "cache"),
    [
        (capital, "http", "public"),
        (Starlette(routes=[Route("/", public)]), "http", "public"),
        (Starlette(), "https", "no-store"),
    ],
)
def test_each_answer_has_each_security_header_once(app: Any, scheme: str, cache: str) -> None:
    starts = []

    async def send(message: Message) -> None:
        starts.append(message)

    exchange = Exchange()
    scope = {**exchange.scope, "method": "GET", "path": "/", "query_string": b"", "root_path": "", "scheme": scheme}
    with override_settings(SECURE_HSTS_SECONDS=60):
        asyncio.run(SecurityHeaders(app)(scope, exchange.receive, send))
    names = [name.decode().lower() for name, _ in starts[0]["headers"]]
    assert len(names) == len(set(names))
    assert set(names) >= {name.lower() for name in DEFAULTS}
    assert ("strict-transport-security" in names) == (scheme == "https")
    assert dict(starts[0]["headers"]).get(b"cache-control", b"public").decode() == cache


def test_a_page_keeps_its_own_policy() -> None:
    """Django's answer, as the site sends it."""
    from athanor.asgi import application  # sets Django up

    starts = []

    async def send(message: Message) -> None:
        starts.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/admin/login/", "raw_path": b"/admin/login/", "query_string": b"",
        "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "", "client": ("192.0.2.1", 1),
        "server": ("localhost", 80), "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(application(scope, Exchange().receive, send))
    policies = [value for name, value in starts[0]["headers"] if name.lower() == b"content-security-policy"]
    assert policies == [CONTENT_SECURITY_POLICY.encode()]
