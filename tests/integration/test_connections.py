"""Time-outs and number of connections: with a real server of uvicorn on a socket, and a small application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from athanor import connections
from athanor.conf import WebSettings

LIMITS = WebSettings(header_s=0.3, body_s=0.2, unread_s=0.3, connections_max=3)
PATIENCE_S = 20.0


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer /big with more than the kernel's buffers hold, /open with what never ends, all else at once."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(100 if scope["path"] == "/big" else 0):
        await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
    if scope["path"] == "/open":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.sleep(LIMITS.header_s * 4)
    await send({"type": "http.response.body", "body": b"last"})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "web_settings", lambda: LIMITS)
    monkeypatch.setattr(connections, "BODY_GRACE_S", 0.1)


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """Yield the port of a server in this loop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, http=connections.Connection, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listening]))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not server.started:
                    await asyncio.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def on_server(talk: Callable[[int], Awaitable[None]]) -> None:
    async def main() -> None:
        async with served() as port, asyncio.timeout(PATIENCE_S):
            await talk(port)

    asyncio.run(main())


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ],
)
def test_half_a_request_ends_its_connection_also_if_it_grows(sent: bytes) -> None:
    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        end = asyncio.create_task(until_closed(reader))
        while not end.done():  # for ever, unless the server closes
            if sent and not writer.is_closing():
                writer.write(b"l")
            await asyncio.sleep(0.02)
        writer.close()

    on_server(talk)


def test_whoever_does_not_read_loses_the_connection() -> None:
    async def talk(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            while True:
                await asyncio.sleep(0.05)
                try:
                    client.setblocking(False)
                    client.sendall(b" ")
                except ConnectionError:
                    return

    on_server(talk)


def test_an_answer_that_takes_longer_keeps_its_connection_and_the_next_request_too() -> None:
    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in (b"/open", b"/"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"last\r\n0\r\n\r\n")
        writer.close()

    on_server(talk)


@pytest.mark.parametrize("files", [65_536, connections.FILES_RESERVED + LIMITS.connections_max])
def test_a_connection_too_many_is_refused_with_a_text(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.setattr(connections, "file_limit", lambda: files)
    if files < 65_536:
        monkeypatch.setattr(connections, "web_settings", lambda: replace(LIMITS, connections_max=1000))

    async def talk(port: int) -> None:
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(LIMITS.connections_max)]
        for _, writer in kept:
            writer.write(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in kept:
            await reader.readuntil(b"first")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await until_closed(reader)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Too many connections" in answer
        for _, each in [*kept, (reader, writer)]:
            each.close()

    on_server(talk)
