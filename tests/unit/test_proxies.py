"""Addresses of clients and the scheme, with headers from proxies and from anybody else."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware
from django.test import RequestFactory, override_settings

from athanor import addresses
from athanor.proxies import FORWARDED, TrustedProxies
from athanor.up import programs, roles
from runs.clients import address

pytestmark = pytest.mark.any_database
PROXY, STRANGER, CLIENT = "10.0.3.7", "203.0.113.9", "192.0.2.5"


def request_after(trusted: str, peer: str | None, **headers: str) -> ASGIRequest:
    """Return the request that Django gets for a connection from `peer`."""
    scopes: list[Any] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        scopes.append(scope)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "scheme": "http",
        "headers": raw,
        "query_string": b"",
    }
    scope["client"] = (peer, 50_000) if peer else None
    middleware = TrustedProxies(application, addresses.networks(trusted))
    asyncio.run(middleware(scope, None, None))  # type: ignore[arg-type]  # neither is used
    return ASGIRequest(scopes[0], io.BytesIO())


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "expected"),
    [
        ("", STRANGER, CLIENT, STRANGER),
        ("", "127.0.0.1", CLIENT, "127.0.0.1"),
        ("10.0.3.0/24", STRANGER, CLIENT, STRANGER),
        ("10.0.3.0/24", "127.0.0.1", CLIENT, "127.0.0.1"),
        ("10.0.3.0/24", PROXY, CLIENT, CLIENT),
        ("10.0.3.0/24", PROXY, f"{STRANGER}, {CLIENT}", CLIENT),  # the client has sent the header itself
        ("10.0.3.0/24,127.0.0.1", PROXY, f"{STRANGER}, {CLIENT}, 127.0.0.1", CLIENT),
        ("10.0.3.0/24", PROXY, "2001:db8::1", "2001:db8::1"),
        ("10.0.3.0/24", PROXY, "<b>x</b>", "unknown"),
        ("::1", "::1", CLIENT, CLIENT),
        ("10.0.3.0/24", None, CLIENT, "unknown"),
    ],
)
def test_only_trusted_proxies_name_the_client(
    trusted: str, peer: str | None, forwarded_for: str, expected: str
) -> None:
    assert address(request_after(trusted, peer, x_forwarded_for=forwarded_for)) == expected


@pytest.mark.parametrize(("peer", "is_secure"), [(PROXY, True), (STRANGER, False), ("127.0.0.1", False)])
def test_only_behind_a_trusted_proxy_a_plain_connection_is_secure(peer: str, is_secure: bool) -> None:
    request = request_after("10.0.3.0/24", peer, x_forwarded_proto="https", host="testserver")

    with override_settings(SECURE_HSTS_SECONDS=60):
        response: Any = SecurityMiddleware(lambda _: HttpResponse())(request)

    assert (request.is_secure(), "Strict-Transport-Security" in response.headers) == (is_secure, is_secure)


@pytest.mark.parametrize("peer", [PROXY, STRANGER])
def test_nothing_behind_reads_the_headers_of_proxies(peer: str) -> None:
    headers = {name.decode().replace("-", "_"): CLIENT for name in FORWARDED}

    request = request_after("10.0.3.0/24", peer, **headers)

    assert not [name for name in request.META if "FORWARDED" in name or "REAL_IP" in name]


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.0/99", "10.0.3.7/24"])
def test_an_invalid_proxy_is_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"ATHANOR_TRUSTED_PROXIES: .* separated by commas"):
        addresses.networks(text)


def test_an_address_of_ipv4_is_written_in_one_way() -> None:
    assert address(RequestFactory().get("/", REMOTE_ADDR="::ffff:192.0.2.5")) == "192.0.2.5"


def test_the_site_is_behind_it() -> None:
    from athanor.asgi import application

    assert isinstance(application, TrustedProxies)


def test_no_web_server_believes_proxies_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda *_, **options: given.update(options))
    programs._web("127.0.0.1", 8000, 5)
    compose = (Path(__file__).parents[2] / "docker-compose.yml").read_text()

    assert given["proxy_headers"] is False
    assert "--no-proxy-headers" in roles.web("127.0.0.1", 8000).command
    assert compose.count("uvicorn athanor.asgi") == compose.count("--no-proxy-headers") == 1
