"""What is done to the database: locked, its connections cut, stopped."""

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
"""A database that does not let chaos in within so long is away already."""


def lock(length_s: float) -> Callable[[], None]:
    """Keep everybody from writing until the returned function is called, and not longer than `length_s` and a bit.

    Raises NoTarget if the database is away or busy.
    """
    return (_lock_sqlite if connection.vendor == "sqlite" else _lock_postgresql)(length_s)


def _lock_sqlite(length_s: float) -> Callable[[], None]:
    held = sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=ANSWER_S, check_same_thread=False)
    try:
        held.isolation_level = None
        held.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        held.close()
        raise NoTarget(f"the database is busy: {error}") from error

    def release() -> None:
        with suppress(sqlite3.Error), closing(held):
            held.execute("ROLLBACK")

    return at_last(release, length_s)


def _lock_postgresql(length_s: float) -> Callable[[], None]:
    held = _connect()
    try:
        held.execute(f"SET lock_timeout = '{ANSWER_S}s'")
        held.execute(f"LOCK TABLE {LOCKED} IN ACCESS EXCLUSIVE MODE")
    except psycopg.Error as error:
        held.close()
        raise NoTarget(f"the database is busy: {error}") from error

    def release() -> None:
        with suppress(psycopg.Error):
            held.close()

    return at_last(release, length_s)


def at_last(release: Callable[[], None], length_s: float) -> Callable[[], None]:
    """`release`, which is called in any case soon after the time is over: who is to call it may wait for the database
    himself.
    """
    timer = threading.Timer(length_s + 2, release)
    timer.daemon = True
    timer.start()
    return release


def cut_connections() -> None:
    """End every connection to our database, our own ones included. Raises NoTarget if it is away."""
    try:
        with closing(_connect()) as own:
            own.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    except psycopg.Error as error:
        raise NoTarget(f"the database is away: {error}") from error


def of_place(place: Place | None) -> PostgresServer:
    """Raises NoTarget unless there is a server that chaos has started, and runs."""
    if place is None or place.postgres is None or not place.postgres.is_running:
        raise NoTarget("no PostgreSQL that chaos has started is running")
    return place.postgres


def _connect() -> psycopg.Connection[tuple[object, ...]]:
    """A connection of its own, beside Django's. Raises NoTarget."""
    known = connection.get_connection_params()
    parameters = {name: known[name] for name in ("dbname", "user", "password", "host", "port") if name in known}
    try:
        return psycopg.connect(**parameters, connect_timeout=ANSWER_S)
    except psycopg.Error as error:
        raise NoTarget(f"the database is away: {error}") from error
