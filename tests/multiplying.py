"""Many rows by one statement: copies of a row that differ in some columns."""

from __future__ import annotations

from typing import Any

from django.db import connection, models


def multiply(model: type[models.Model], key: Any, rows: int, *, of: str = "id", **columns: str) -> None:
    """Copy the row whose column `of` is `key`. `columns` are SQL expressions with the number `i` of the copy."""
    table, quoted = model._meta.db_table, connection.ops.quote_name
    names = [field.column for field in model._meta.concrete_fields if field.column]
    values = ", ".join(columns.get(name, quoted(name)) for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(map(quoted, names))}) WITH RECURSIVE n(i) AS"
            f" (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT {values} FROM {table}, n"
            f" WHERE {of} = %s", [key],
        )  # fmt: skip


def minutes_ago() -> str:
    """Return the SQL expression of a time `i` minutes ago."""
    if connection.vendor == "postgresql":
        return "now() - make_interval(mins => i)"
    return "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || i || ' minutes')"


def set_next_ids(*tables: str) -> None:
    """Let the sequences of PostgreSQL continue after the copies."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")
