"""Fast inserts, idempotent on (run, attempt, seq): COPY on PostgreSQL, executemany elsewhere.

For calls within a transaction. A row that the database refuses does not stop the others: the batch is then written row
by row, with a replacement for each refused row. Only conflicts of the key are ignored, no other violation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import DataError, IntegrityError, InternalError, NotSupportedError, connection, transaction

from runs.lines.store.rows import Row, Table

logger = logging.getLogger(__name__)

REFUSALS = (
    DataError,
    IntegrityError,
    InternalError,
    NotSupportedError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""Errors of a value that the database refuses, rather than of an unavailable database."""

ON_CONFLICT = "ON CONFLICT (run_id, attempt, seq) DO NOTHING"


def write(table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows that do not exist yet. Raises OperationalError or InterfaceError if it is unavailable."""
    if not rows:
        return
    try:
        with transaction.atomic():
            (_copy if connection.vendor == "postgresql" else _insert)(table, rows)
    except REFUSALS as error:
        logger.warning("Storing a batch of %s row by row: %s", table.model._meta.db_table, error)
        for row in rows:
            _write_one(table, row)


def _write_one(table: Table, row: Row) -> None:
    try:
        with transaction.atomic():
            _insert(table, [row])
    except REFUSALS as error:
        with transaction.atomic():
            _insert(table, [table.substitute(row, str(error))])


def _insert(table: Table, rows: Sequence[Row]) -> None:
    names = ", ".join(table.columns)
    places = ", ".join(["%s"] * len(table.columns))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table.model._meta.db_table} ({names}) VALUES ({places}) {ON_CONFLICT}",  # noqa: S608  # our names
            [(*row[:3], _time(row[3]), *row[4:]) for row in rows] if connection.vendor == "sqlite" else rows,
        )


def _time(time: datetime) -> str:
    """Format a time as Django stores it in SQLite. Django's own conversion takes longer than the whole row."""
    return str(time.replace(tzinfo=None))


def _copy(table: Table, rows: Sequence[Row]) -> None:
    name = table.model._meta.db_table
    names = ", ".join(table.columns)
    incoming = f"incoming_{name}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} ({_types(table)}) ON COMMIT DELETE ROWS")
        cursor.execute(f"DELETE FROM {incoming}")  # noqa: S608  # of an earlier call in this transaction
        with connection.wrap_database_errors, cursor.copy(f"COPY {incoming} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(f"INSERT INTO {name} ({names}) SELECT {names} FROM {incoming} {ON_CONFLICT}")  # noqa: S608


def _types(table: Table) -> str:
    """Return the columns with their types, without the constraints of the table."""
    fields: dict[str | None, Any] = {field.column: field for field in table.model._meta.concrete_fields}
    return ", ".join(f"{column} {fields[column].db_type(connection)}" for column in table.columns)
