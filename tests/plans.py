"""Query plans of the database: tables that it reads as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

BIG = frozenset({
    "runs_run", "runs_attempt", "runs_logline", "runs_result", "runs_slot", "django_celery_results_taskresult",
})  # fmt: skip
"""Tables that grow with each run."""
EXPLAINED = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
SCAN = re.compile(r"^SCAN (\w+)(?! USING\b)\b")
ALIAS = re.compile(r'"?(\w+)"?\s+(?:AS\s+)?"?([A-Z]\d+)"?')
NEWEST_FIRST = re.compile(r'ORDER BY (?:"\w+"\."id"|1) DESC LIMIT \d+(?: OFFSET \d+)?$')


@contextmanager
def full_scans() -> Iterator[list[str]]:
    """Explain each query of the block before it is executed; yield those that read a big table as a whole."""
    found: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not many and sql.lstrip(" (").upper().startswith(EXPLAINED):
            execute(f"{prefix()} {sql}", params, False, context)
            found.extend(scans_of(sql, context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield found


def prefix() -> str:
    return "EXPLAIN (FORMAT JSON)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"


def scans_of(sql: str, rows: list[Any]) -> list[str]:
    """Return a description for each big table that the plan of `sql` reads as a whole."""
    if connection.vendor == "postgresql":
        tables = list(_read_as_a_whole(rows[0][0][0]["Plan"]))
    else:
        tables = _scanned(sql, [row[-1] for row in rows])
    return [f"{table} is read as a whole by {sql}: {rows}" for table in tables if table in BIG]


def _read_as_a_whole(plan: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the tables that PostgreSQL reads as a whole. The first rows of a table without a condition are not."""
    if plan["Node Type"] == "Seq Scan" and ("Filter" in plan or above != "Limit"):
        yield str(plan["Relation Name"])
    for part in plan.get("Plans", ()):
        yield from _read_as_a_whole(part, plan["Node Type"])


def _scanned(sql: str, steps: list[str]) -> list[str]:
    """Tables that SQLite reads as a whole. The first rows in the order of the table's own key are not such a read."""
    if NEWEST_FIRST.search(sql) and not any("TEMP B-TREE" in step for step in steps):
        return []
    aliases: dict[str, str] = {alias: table for table, alias in ALIAS.findall(sql)}
    names = [str(match[1]) for step in steps if (match := SCAN.match(step)) and "USING" not in step]
    return [aliases.get(name, name) for name in names]
