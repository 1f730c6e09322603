"""Faults of the database: locks, lost connections, stops."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg
from django.conf import settings
from django.db import connection

from athanor.chaos.place import Place
from athanor.chaos.stage import NoTarget
from athanor.embedded.postgres import PostgresServer

LOCKED = "runs_run, runs_attempt"
ANSWER_S = 3
"""Time-out of chaos's own connections; a slower database counts as unavailable."""


def lock(length_s: float) -> Callable[[], None]:
    """Block all writes until the returned function is called, at most slightly longer than `length_s`.

    Raises NoTarget if the database is unavailable or busy.
    """
    return (_lock_sqlite if connection.vendor == "sqlite" else _lock_postgresql)(length_s)


def _lock_sqlite(length_s: float) -> Callable[[], None]:
    own = sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=ANSWER_S, check_same_thread=False)
    try:
        own.isolation_level = None
        own.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        own.close()
        raise NoTarget(f"the database is busy: {error}") from error

    def release() -> None:
        with suppress(sqlite3.Error), closing(own):
            own.execute("ROLLBACK")

    return at_latest(release, length_s)


def _lock_postgresql(length_s: float) -> Callable[[], None]:
    own = _connect()
    try:
        own.execute(f"SET lock_timeout = '{ANSWER_S}s'")
        own.execute(f"LOCK TABLE {LOCKED} IN ACCESS EXCLUSIVE MODE")
    except psycopg.Error as error:
        own.close()
        raise NoTarget(f"the database is busy: {error}") from error

    def release() -> None:
        with suppress(psycopg.Error):
            own.close()

    return at_latest(release, length_s)


def at_latest(release: Callable[[], None], length_s: float) -> Callable[[], None]:
    """Return `release`, and call it in any case shortly after `length_s`: its caller may be blocked by the database."""
    timer = threading.Timer(length_s + 2, release)
    timer.daemon = True
    timer.start()
    return release


def cut_connections() -> None:
    """End all connections to the database, including Athanor's. Raises NoTarget if it is unavailable."""
    try:
        with closing(_connect()) as own:
            own.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    except psycopg.Error as error:
        raise NoTarget(f"the database is unavailable: {error}") from error


def own_server(place: Place | None) -> PostgresServer:
    """Return the server of the throwaway stack. Raises NoTarget unless it is running."""
    if place is None or place.postgres is None or not place.postgres.is_running:
        raise NoTarget("no PostgreSQL that chaos has started is running")
    return place.postgres


def _connect() -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection separate from Django's. Raises NoTarget."""
    settings_of_django = connection.get_connection_params()
    parameters = {
        name: settings_of_django[name]
        for name in ("dbname", "user", "password", "host", "port")
        if name in settings_of_django
    }
    try:
        return psycopg.connect(**parameters, connect_timeout=ANSWER_S)
    except psycopg.Error as error:
        raise NoTarget(f"the database is unavailable: {error}") from error
