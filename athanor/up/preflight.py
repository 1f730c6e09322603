"""Checks before `up` starts a process. Each message gives the error and what to do."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from athanor.embedded import redis
from experiments.umask import PRIVATE_FOLDER


class Refused(Exception):
    """`up` cannot start. The message is for the user."""


def check_folder(var: Path) -> None:
    """Create `var` if it is missing. Raises Refused unless files can be written there."""
    probe = var / f".probe.{os.getpid()}"
    try:
        var.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Refused(
            f"Cannot write to the folder {var}: {error.strerror}."
            " Make it writable, or set ATHANOR_VAR to another folder."
        ) from error


def check_port(host: str, port: int) -> None:
    """Raise Refused unless a server can listen on this address now."""
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
                f"Port {port} on {host} is already in use. Stop what uses it, or choose another port with --port."
            ) from error
        raise Refused(f"Cannot listen on {host}, port {port}: {error.strerror}. Change --host or --port.") from error


def opened_text(host: str, port: int, names: Sequence[str]) -> str:
    """Return a warning about a server that other machines can reach; empty if they cannot."""
    if _is_loopback(host):
        return ""
    return (
        f"Warning: the site listens on {host}, port {port}. Anyone who can reach this machine can connect, over plain"
        " HTTP: passwords and pages can be read and changed in transit. The site accepts the host names"
        f" {', '.join(names) or '(none)'} (ATHANOR_ALLOWED_HOSTS). Use a proxy with HTTPS and a firewall, or"
        f" --host 127.0.0.1 with a tunnel: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE"
    )


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on this host. False if that is unknown."""
    try:
        addresses = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in addresses)


def redis_command(var: Path, external_url: str | None) -> tuple[list[str] | None, list[str]]:
    """Return the command line of the embedded Redis, or None for an external one, and notes on it. Raises Refused."""
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
