"""Connection to Redis, with timeouts, and with one exception for all its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from runs.exceptions import BufferCorrupt, BufferUnavailable

TIMEOUT_S = 2.0
"""Longest wait for a connection or a response. A command is retried once, so a call may take twice that."""
HEALTH_CHECK_S = 15


def connect(url: str) -> redis.Redis:
    """Create a thread-safe client (a pool of connections). It connects when first used."""
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=HEALTH_CHECK_S,
    )


@contextmanager
def available(doing: str) -> Iterator[None]:
    """Raise BufferUnavailable if Redis is down, silent, out of memory, read-only, loading, or refuses otherwise.

    Raises BufferCorrupt if a key has a wrong type.
    """
    try:
        yield
    except redis.RedisError as error:
        kind = BufferCorrupt if "WRONGTYPE" in str(error) else BufferUnavailable
        raise kind(f"Redis cannot {doing}: {error or type(error).__name__}") from error


@cache
def source(name: str) -> str:
    """Read the text of a script in the folder of this module."""
    return (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")


def script(client: redis.Redis, name: str) -> Script:
    """Return the script `name`, to be called with `keys` and `args`. It is loaded again if Redis has lost it."""
    return client.register_script(source(name))
