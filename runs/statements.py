"""SQL text of statements that are executed several times for each run. The ORM would compile them at every call.

Only for columns and tables that are named in code. Values are converted by their fields, as the ORM does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import Model


@dataclass(frozen=True, slots=True)
class Sql:
    """Text with its parameters."""

    text: str
    params: tuple[Any, ...] = ()

    def __add__(self, other: Sql) -> Sql:
        return Sql(f"{self.text} {other.text}", self.params + other.params)


def now() -> Sql:
    """Return the database's current time."""
    return Sql("STATEMENT_TIMESTAMP()" if _is_postgresql() else "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')")


def from_now(seconds: float) -> Sql:
    """Return the time `seconds` after the database's current time (before it, if negative)."""
    if _is_postgresql():
        return Sql("STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second'", (seconds,))
    return Sql("STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s)", (f"{seconds:+f} seconds",))


def join(parts: Iterable[Sql], separator: str) -> Sql:
    listed = list(parts)
    return Sql(separator.join(part.text for part in listed), tuple(value for part in listed for value in part.params))


def update(model: type[Model], values: Mapping[str, Any]) -> Sql:
    """Return `UPDATE table SET ...`. A value may be Sql."""
    return Sql(f'UPDATE "{model._meta.db_table}" SET') + join((_set(model, *item) for item in values.items()), ", ")


def insert_or_update(model: type[Model], values: Mapping[str, Any], *, key: str, kept: Collection[str]) -> Sql:
    """Return the INSERT of a row. If one with this unique `key` exists, it is updated, except the columns `kept`."""
    names = {name: _quoted(model, name) for name in values}
    changes = ", ".join(f"{name} = excluded.{name}" for column, name in names.items() if column not in kept)
    row = join((Sql("%s", (_converted(model, *item),)) for item in values.items()), ", ")
    into = Sql(f'INSERT INTO "{model._meta.db_table}" ({", ".join(names.values())}) VALUES (')  # noqa: S608  # names of the model
    return into + row + Sql(f") ON CONFLICT ({names[key]}) DO UPDATE SET {changes}")


def insert(row: Model) -> None:
    """Insert a new row, and set its primary key. Sends no signals."""
    database: Any = connections[DEFAULT_DB_ALIAS]  # faster than its proxy
    values = _given(row)
    with database.cursor() as cursor:
        cursor.execute(
            _insertion(type(row), tuple(values)),
            [field.get_db_prep_save(value, database) for field, value in values.items()],
        )
        row.pk = cursor.fetchone()[0]
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def insert_both(row: Model, beside: Model, *, key: str) -> None:
    """Insert two new rows, and set their primary keys. The column `key` of the second holds that of the first as text.

    In one statement on PostgreSQL, in one transaction elsewhere.
    """
    if not _is_postgresql():
        with transaction.atomic(savepoint=False):
            insert(row)
            setattr(beside, key, str(row.pk))
            insert(beside)
        return
    database: Any = connections[DEFAULT_DB_ALIAS]
    first, second = _given(row), {field: value for field, value in _given(beside).items() if field.attname != key}
    with database.cursor() as cursor:
        cursor.execute(
            _double_insertion(type(row), tuple(first), type(beside), tuple(second), key),
            [field.get_db_prep_save(value, database) for field, value in (*first.items(), *second.items())],
        )
        row.pk, beside.pk = cursor.fetchone()
    setattr(beside, key, str(row.pk))
    for each in (row, beside):
        each._state.adding, each._state.db = False, DEFAULT_DB_ALIAS


def execute(sql: Sql) -> int:
    """Execute a statement, and return the number of its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql.text, sql.params)
        return int(cursor.rowcount)


def _given(row: Model) -> dict[Any, Any]:
    """Return field → value of a new row, without NULLs and values that the database computes."""
    values = {field: getattr(row, field.attname) for field in _insertable(type(row))}
    return {field: value for field, value in values.items() if value is not None}


@cache
def _insertable(model: type[Model]) -> list[Any]:
    """Return the fields whose values the database does not compute."""
    return [field for field in model._meta.concrete_fields if not field.primary_key and not field.has_db_default()]


@lru_cache(maxsize=100)
def _insertion(model: type[Model], fields: tuple[Any, ...]) -> str:
    names, places = ", ".join(f'"{field.column}"' for field in fields), ", ".join(["%s"] * len(fields))
    return f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({places}) RETURNING id'  # noqa: S608  # names of the model


@lru_cache(maxsize=100)
def _double_insertion(
    model: type[Model], fields: tuple[Any, ...], beside: type[Model], columns: tuple[Any, ...], key: str
) -> str:
    names, places = ", ".join(f'"{field.column}"' for field in columns), ", ".join(["%s"] * len(columns))
    return (
        f"WITH first AS ({_insertion(model, fields)})"  # noqa: S608  # names of the models
        f' INSERT INTO "{beside._meta.db_table}" ({names}, "{key}") SELECT {places}, id::text FROM first'
        " RETURNING (SELECT id FROM first), id"
    )


def _set(model: type[Model], name: str, value: Any) -> Sql:
    if isinstance(value, Sql):
        return Sql(f"{_quoted(model, name)} = {value.text}", value.params)
    return Sql(f"{_quoted(model, name)} = %s", (_converted(model, name, value),))


def _quoted(model: type[Model], name: str) -> str:
    return f'"{_field(model, name).column}"'


def _converted(model: type[Model], name: str, value: Any) -> Any:
    return _field(model, name).get_db_prep_save(value, connections[DEFAULT_DB_ALIAS])


def _field(model: type[Model], name: str) -> Any:
    return model._meta.get_field(name)


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"
