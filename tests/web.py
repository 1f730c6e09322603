"""Athanor's web server on the tests' ground, as a process that can be ended and started again on its port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from tests.servers import free_port
from tests.waiting import wait_until


class Web:
    """Use it as a context manager."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.port = free_port()
        self.log = folder / "web.log"
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Web:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> Web:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "athanor.asgi:application", "--port", str(self.port),
                 "--timeout-graceful-shutdown", "1", "--no-access-log", "--no-proxy-headers",
                 "--http", "athanor.connections:Connection"],
                env={**os.environ, **self._environ}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._answers, timeout_s=60, what="the web server to answer")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        connection = HTTPConnection("127.0.0.1", self.port, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", "/favicon.ico")
            with connection.getresponse() as response:
                return response.status == 200
        return False

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


def session_of(user: Any) -> str:
    """Return the key of a new session in which `user` is logged in."""
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    return str(store.session_key)


class Event:
    """One server-sent event."""

    def __init__(self, name: str, data: str, event_id: str) -> None:
        self.name, self.data, self.id = name, data, event_id


def listen(
    web: Web, run_id: int, session: str, *, query: str = "", last: str = "", timeout_s: float = 15.0
) -> Generator[Event, None, None]:
    """Yield the events of a run's stream until the server ends it. Raises AssertionError unless the status is 200."""
    connection = HTTPConnection("127.0.0.1", web.port, timeout=timeout_s)
    headers = {"Cookie": f"sessionid={session}"} | ({"Last-Event-ID": last} if last else {})
    connection.request("GET", f"/admin/runs/run/{run_id}/stream/{query}", headers=headers)
    response = connection.getresponse()
    try:
        assert response.status == 200, response.status
        fields: dict[str, str] = {}
        deadline = time.monotonic() + timeout_s
        for raw in response:
            assert time.monotonic() < deadline, f"what was waited for did not come in {timeout_s:g} s"
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Event(fields.get("event", ""), fields.get("data", ""), fields.get("id", ""))
                fields = {}
    finally:
        response.close()
        connection.close()
