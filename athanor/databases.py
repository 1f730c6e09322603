"""Where the database, Redis and the secret key of this place are: from the environment, or else in the var folder.

Pure but for the file of the key.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

BROKER_KEY_PREFIX = "athanor:broker:"
"""Before every key of Celery's in Redis, so that a queue of any name never meets a key of runs.lines.buffer."""

SOCKET_PATH_MAX_BYTES = 100
"""The kernel takes 107 bytes on Linux, 103 on macOS."""

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
}


POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
"""Seconds; the last one in milliseconds. A server that vanished is noticed within a lease, not after the
quarter of an hour that TCP takes by itself. libpq ignores all but the first on a unix socket.
"""


def configuration(var: Path, environ: Mapping[str, str], *, is_child: bool = False) -> dict[str, Any]:
    """Django's description of the database named by ATHANOR_DATABASE_URL; SQLite in `var` without one."""
    if is_child:
        return {"ENGINE": "athanor.no_database"}
    url = environ.get("ATHANOR_DATABASE_URL", "")
    parts = urlsplit(url)
    if not url:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": var / "db.sqlite3", "OPTIONS": dict(SQLITE_OPTIONS)}
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": unquote(parts.path), "OPTIONS": dict(SQLITE_OPTIONS)}
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"ATHANOR_DATABASE_URL starts with {parts.scheme!r}; expected postgresql://user:password@host:5432/name"
            " or sqlite:////absolute/path.sqlite3"
        )
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": {**POSTGRESQL_OPTIONS, **query},
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


def redis_url(var: Path, environ: Mapping[str, str]) -> str:
    """URL of Redis for redis-py: ATHANOR_REDIS_URL, or else the socket of the embedded server of `var`."""
    return environ.get("ATHANOR_REDIS_URL") or f"unix://{quote(str(redis_socket(var)))}"


def redis_socket(var: Path) -> Path:
    """Where the embedded Redis of `var` listens: in `var`, or in /tmp if that path is too long for a socket."""
    socket = var / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_MAX_BYTES:
        return socket
    name = hashlib.sha256(os.fsencode(var)).hexdigest()[:16]
    return Path("/tmp") / f"athanor-{os.getuid()}-{name}" / "redis.sock"  # noqa: S108  # in a folder of our own, see athanor.embedded


def broker_url(redis_url: str) -> str:
    """The same Redis in Celery's spelling: `unix:///path?db=1` becomes `redis+socket:///path?virtual_host=1`."""
    parts = urlsplit(redis_url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        at = f"{parts.netloc}/" if parts.netloc else "/"
        return f"redis+socket://{at}{parts.path.lstrip('/')}?virtual_host={query.get('db', '0')}"
    if parts.scheme == "rediss" and not any(name.startswith("ssl_") for name in query):
        # Without an ssl option kombu would speak in clear to a TLS port.
        return redis_url + ("&" if parts.query else "?") + "ssl_cert_reqs=required"
    return redis_url


def secret_key(var: Path, environ: Mapping[str, str], *, is_child: bool = False) -> str:
    """ATHANOR_SECRET_KEY, or else a key that is made once and kept in `var`, readable by its owner only."""
    if is_child:
        return secrets.token_urlsafe(50)
    if key := environ.get("ATHANOR_SECRET_KEY"):
        return key
    path = var / "secret_key"
    try:
        if not path.exists():
            _make_secret_key(path)
        return path.read_text()
    except OSError as error:
        raise ImproperlyConfigured(
            f"No secret key can be kept in {var} ({error.strerror}). Make the folder writable, set ATHANOR_VAR to one"
            " that is, or set ATHANOR_SECRET_KEY."
        ) from error


def _make_secret_key(path: Path) -> None:
    """Write a new key whole or not at all, so that of two processes that start at once both read the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(50))
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
