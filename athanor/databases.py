"""Addresses of the database and Redis, and the secret key: from the environment, or else in the var folder.

Pure, except for the file of the key.
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

from experiments.umask import PRIVATE_FOLDER

BROKER_KEY_PREFIX = "athanor:broker:"
"""Prefix of all Celery keys in Redis, so that no queue name collides with a key of runs.lines.buffer."""

SOCKET_PATH_MAX_BYTES = 100
"""Limit for socket paths; the kernel accepts 107 bytes on Linux, 103 on macOS."""

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
"""Seconds; the last one in milliseconds. A vanished server is noticed within a lease; TCP alone takes a
quarter of an hour. On a unix socket libpq ignores all but the first.
"""


def configuration(var: Path, environ: Mapping[str, str], *, is_child: bool = False) -> dict[str, Any]:
    """Return Django's configuration of the database at ATHANOR_DATABASE_URL; without one, SQLite in `var`."""
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
    """Return the URL of Redis for redis-py: ATHANOR_REDIS_URL, or the socket of the embedded server of `var`."""
    return environ.get("ATHANOR_REDIS_URL") or f"unix://{quote(str(redis_socket(var)))}"


def redis_socket(var: Path) -> Path:
    """Return the socket of the embedded Redis of `var`: in `var`, or in /tmp if that path is too long for a socket."""
    socket = var / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_MAX_BYTES:
        return socket
    name = hashlib.sha256(os.fsencode(var)).hexdigest()[:16]
    return Path("/tmp") / f"athanor-{os.getuid()}-{name}" / "redis.sock"  # noqa: S108  # in a private folder, see athanor.embedded


def broker_url(redis_url: str) -> str:
    """Convert a Redis URL for Celery: `unix:///path?db=1` becomes `redis+socket:///path?virtual_host=1`."""
    parts = urlsplit(redis_url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        at = f"{parts.netloc}/" if parts.netloc else "/"
        return f"redis+socket://{at}{parts.path.lstrip('/')}?virtual_host={query.get('db', '0')}"
    if parts.scheme == "rediss" and not any(name.startswith("ssl_") for name in query):
        # Without an ssl option kombu would not encrypt its connection to a TLS port.
        return redis_url + ("&" if parts.query else "?") + "ssl_cert_reqs=required"
    return redis_url


def secret_key(var: Path, environ: Mapping[str, str], *, is_child: bool = False) -> str:
    """Return ATHANOR_SECRET_KEY, or a key that is generated once and stored in `var`, readable by its owner only."""
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
            f"Cannot store the secret key in {var}: {error.strerror}. Make the folder writable, set ATHANOR_VAR to"
            " another folder, or set ATHANOR_SECRET_KEY."
        ) from error


def _make_secret_key(path: Path) -> None:
    """Write a new key atomically, so that two processes that start at the same time read the same one."""
    path.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(50))
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
