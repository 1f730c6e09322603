"""Result backend of Celery: django-celery-results, which stores each result with one statement."""

from __future__ import annotations

from typing import Any

from celery import states
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django_celery_results.backends.database import DatabaseBackend
from django_celery_results.models import TaskResult

from runs.statements import Sql, execute, insert_or_update

TRIES = 2
"""Number of tries: the server may have closed the connection since its last use."""
KEPT = ("task_id", "date_created")
"""Columns that a second result of the same task does not change."""
_UNFINISHED = Sql(f"WHERE {TaskResult._meta.db_table}.status NOT IN ('{states.SUCCESS}', '{states.FAILURE}')")
"""Guard of an update: a forged or repeated message with the id of an earlier task does not replace its result."""


class Backend(DatabaseBackend):  # type: ignore[misc]  # untyped
    """Store results in the table of django-celery-results, where its admin and API find them.

    The library reads the row, opens a savepoint and inserts; it updates the row of an earlier state in a transaction.
    """

    def _store_result(
        self, task_id: str, result: Any, status: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        content_type, content_encoding, encoded = self.encode_content(result)
        meta = {**self._get_meta_from_request(request), "children": self.current_task_children(request)}
        row = {
            "task_id": task_id,
            "status": status,
            "content_type": content_type,
            "content_encoding": content_encoding,
            "result": encoded,
            "meta": self.encode_content(meta)[2],
            **self._get_extended_properties(request, traceback),
            "traceback": traceback,
            "date_created": timezone.now(),
            "date_done": timezone.now(),
        }
        if status == states.STARTED:
            row["date_started"] = row["date_done"]
        _store(row)
        return encoded


def _store(row: dict[str, Any]) -> None:
    from runs.worker.runtime import turn_to_write  # web processes load the backend too

    for left in reversed(range(TRIES)):
        try:
            with turn_to_write():
                execute(insert_or_update(TaskResult, row, key="task_id", kept=KEPT) + _UNFINISHED)
                return
        except (InterfaceError, OperationalError):
            if not left:
                raise
            connection.close()
