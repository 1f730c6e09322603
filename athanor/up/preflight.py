"""What must hold before anything is started. Each refusal is one sentence that says what to do."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from athanor.embedded import redis


class Refused(Exception):
    """`up` cannot start here. The message is for whoever typed it."""


def check_folder(var: Path) -> None:
    """Raises Refused unless files can be written in `var`, which is made if it is missing."""
    probe = var / f".probe.{os.getpid()}"
    try:
        var.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Refused(
            f"The folder {var} cannot be written to ({error.strerror})."
            " Make it writable, or set ATHANOR_VAR to one that is."
        ) from error


def check_port(host: str, port: int) -> None:
    """Raises Refused unless a server could listen there now."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refused(
                f"Port {port} of {host} is in use. End what uses it, or choose another with --port."
            ) from error
        raise Refused(
            f"No server can listen on {host}, port {port} ({error.strerror}). Choose with --host and --port."
        ) from error


def redis_command(var: Path, external_url: str | None) -> tuple[list[str] | None, list[str]]:
    """The embedded Redis' command line (None: an external one is used), and remarks on it. Raises Refused."""
    try:
        if external_url:
            return None, redis.inspect_external(external_url)
        server = redis.find_server()
        major, minor = server.version
        return redis.prepare(server, var), [f"Redis: {server.flavour} {major}.{minor}, {server.binary}"]
    except redis.RedisUnusable as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"Cannot write the files of the embedded Redis in {var}: {error}.") from error
