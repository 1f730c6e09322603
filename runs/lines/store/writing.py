"""Fast inserts, idempotent on (run, attempt, seq): COPY on PostgreSQL, executemany elsewhere.

For calls within a transaction. PostgreSQL first gets a plain COPY, since nearly all rows are new. If a row exists
already, the batch goes through a temporary table, which ignores conflicts of the key and no other violation. A row that
the database refuses does not stop the others: the batch is then written row by row, with a replacement for each refused
row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
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
    insert = _insert
    if connection.vendor == "postgresql":
        insert = _copy_missing
        with suppress(*REFUSALS), transaction.atomic():
            _copy(table, rows)
            return
    try:
        with transaction.atomic():
            insert(table, rows)
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
    if connection.vendor == "postgresql":
        rows = [(*row[:3], f"{row[3]}+00", *row[4:]) for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table.model._meta.db_table} ({names}) VALUES ({places}) {ON_CONFLICT}",  # noqa: S608  # our names
            rows,
        )


def _copy(table: Table, rows: Sequence[Row], into: str = "") -> None:
    """Insert rows that do not exist yet. Raises IntegrityError if one does."""
    name = into or table.model._meta.db_table
    text = copy_text(table, rows)
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {name} ({', '.join(table.columns)}) FROM STDIN") as copy,
    ):
        copy.write(text)


def _copy_missing(table: Table, rows: Sequence[Row]) -> None:
    """Insert those of the rows that do not exist yet."""
    name = table.model._meta.db_table
    names = ", ".join(table.columns)
    incoming = f"incoming_{name}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} ({_types(table)}) ON COMMIT DELETE ROWS")
        cursor.execute(f"DELETE FROM {incoming}")  # noqa: S608  # of an earlier call in this transaction
        _copy(table, rows, into=incoming)
        cursor.execute(f"INSERT INTO {name} ({names}) SELECT {names} FROM {incoming} {ON_CONFLICT}")  # noqa: S608


def copy_text(table: Table, rows: Sequence[Row]) -> str:
    """Return rows in the text form of COPY."""
    text = "".join(table.copied(rows))
    is_plain = (
        "\r" not in text
        and text.count("\n") == len(rows)
        and text.count("\t") == len(rows) * (len(table.columns) - 1)
        and text.count("\\") == sum(row.count(None) for row in rows)
    )
    return text if is_plain else "".join(table.copied([tuple(map(_escaped, row)) for row in rows]))


def _escaped(field: Any) -> Any:
    if not isinstance(field, str):
        return field
    return field.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _types(table: Table) -> str:
    """Return the columns with their types, without the constraints of the table."""
    fields: dict[str | None, Any] = {field.column: field for field in table.model._meta.concrete_fields}
    return ", ".join(f"{column} {fields[column].db_type(connection)}" for column in table.columns)
