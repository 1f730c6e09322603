"""Renewal of leases in the database: short statements, on a separate connection, that never wait for locked rows.

For the process of `runs.worker.renewer`, so without Django. On PostgreSQL, rows that others have locked are skipped and
tried again soon. On SQLite, it tries for the write lock more often than other writers do.
"""

from __future__ import annotations

import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from runs.write_gate import WriteGate

Key = tuple[int, int]
"""Run and number of an attempt."""

LOCK_WAIT_MS = 500
"""Longest wait for a locked table (PostgreSQL)."""
STATEMENT_MS = 3000
LOCK_TRY_S = 0.002
"""Pause between two tries for SQLite's write lock."""
DJANGO_OPTIONS = frozenset({"pool", "isolation_level", "assume_role", "server_side_binding"})
"""Options of Django's PostgreSQL backend that libpq does not have."""


class Unavailable(Exception):
    """Raised if the database does not respond, or its lock is not available."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """Result of a renewal."""

    at: float
    """Time of the lease clock from which the renewed leases count."""
    renewed: set[Key]
    open: set[Key]
    """Open attempts of the worker: the renewed ones, and those with a locked row."""


@dataclass(frozen=True, slots=True)
class Request:
    worker: int
    """Primary key of the worker's row."""
    attempts: Collection[Key]
    lease_s: float
    counts: Mapping[str, int]
    """Columns of the worker's row to update."""


class LeaseStore(ABC):
    """Store of leases. Connects when first used, and again after an error."""

    @abstractmethod
    def renew(self, request: Request, clock: Callable[[], float]) -> Renewal:
        """Renew the leases of the requested attempts that are open. Raises Unavailable; may be repeated.

        An expired lease is renewed too if the attempt is open: a takeover closes it.
        """


def connect(settings: Mapping[str, Any]) -> LeaseStore:
    """Return the store for the database of Django's settings."""
    if settings["ENGINE"].endswith("sqlite3"):
        return SqliteLeases(str(settings["NAME"]))
    return PostgresLeases(settings)


def _counts(request: Request) -> str:
    """Return the SQL assignments of the worker's counters."""
    return "".join(f", {column} = {int(count)}" for column, count in request.counts.items())


class SqliteLeases(LeaseStore):
    """Leases on SQLite. Holds the write lock for one or two milliseconds. Commits never wait for a WAL checkpoint."""

    patience_s = 3.0
    """Longest time that a call tries for the write lock, while other writers wait for it."""

    def __init__(self, path: str) -> None:
        self._path, self._gate = path, WriteGate(path)
        self._connection: sqlite3.Connection | None = None

    def renew(self, request: Request, clock: Callable[[], float]) -> Renewal:
        try:
            connection = self._connected()
            with self._gate.first():
                self._begin(connection)
                return self._renew(connection, request, clock())
        except sqlite3.Error as error:
            self._close()
            raise Unavailable(str(error)) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute("PRAGMA wal_autocheckpoint=0")
        return self._connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(LOCK_TRY_S)
            else:
                return

    def _renew(self, connection: sqlite3.Connection, request: Request, at: float) -> Renewal:
        runs = json.dumps([run for run, _ in request.attempts])
        mine = "worker_id = ? AND finished_at IS NULL AND run_id IN (SELECT value FROM json_each(?))"
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now'"
        connection.execute(
            f"UPDATE runs_attempt SET lease_expires_at = {now}, ?) WHERE {mine}",  # noqa: S608  # constant texts
            (f"{request.lease_s:+f} seconds", request.worker, runs),
        )
        rows = connection.execute(
            f"SELECT run_id, number FROM runs_attempt WHERE {mine}",  # noqa: S608
            (request.worker, runs),
        ).fetchall()
        connection.execute(
            f"UPDATE runs_worker SET heartbeat_at = {now}){_counts(request)} WHERE id = ?",  # noqa: S608
            (request.worker,),
        )
        connection.execute("COMMIT")
        renewed = {(run, number) for run, number in rows} & set(request.attempts)
        return Renewal(at, renewed, renewed)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class PostgresLeases(LeaseStore):
    """Leases on PostgreSQL. Skips locked rows, so that they delay no other attempt."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        options = {name: value for name, value in settings["OPTIONS"].items() if name not in DJANGO_OPTIONS}
        given = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        own = {name: str(settings[key]) for key, name in given.items() if settings.get(key)}
        self._parameters = {**options, **own}
        self._connection: Any = None

    def renew(self, request: Request, clock: Callable[[], float]) -> Renewal:
        import psycopg

        try:
            connection = self._connected()
            at = clock()
            runs = [run for run, _ in request.attempts]
            renewed = set(connection.execute(_POSTGRES_RENEW, (request.lease_s, request.worker, runs)).fetchall())
            still_open = set(connection.execute(_POSTGRES_OPEN, (request.worker, runs)).fetchall())
            connection.execute(_POSTGRES_WORKER.format(counts=_counts(request)), (request.worker,))
        except psycopg.Error as error:
            self._close()
            raise Unavailable(str(error).strip()) from error
        requested = set(request.attempts)
        return Renewal(at, renewed & requested, still_open & requested)

    def _connected(self) -> Any:
        import psycopg

        if self._connection is None:
            self._connection = psycopg.connect(**self._parameters, autocommit=True)
            self._connection.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
            self._connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


_POSTGRES_RENEW = """
UPDATE runs_attempt SET lease_expires_at = statement_timestamp() + make_interval(secs => %s)
WHERE id IN (
    SELECT id FROM runs_attempt WHERE worker_id = %s AND finished_at IS NULL AND run_id = ANY(%s)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING run_id, number
"""
_POSTGRES_OPEN = (
    "SELECT run_id, number FROM runs_attempt WHERE worker_id = %s AND finished_at IS NULL AND run_id = ANY(%s)"
)
_POSTGRES_WORKER = """
UPDATE runs_worker SET heartbeat_at = statement_timestamp(){counts}
WHERE id IN (SELECT id FROM runs_worker WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED)
"""
