"""Time limit for the queries of pages, at the database. Installed in web processes only.

PostgreSQL ends a statement after `page_query_s`. On SQLite the statements of a request have that time together, and no
query may use a regular expression, which would run in Python and could block all threads.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.contrib import admin
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from athanor.conf import web_settings
from athanor.middleware import Handler

QUERY_CANCELED = "57014"
"""PostgreSQL's SQLSTATE of a cancelled statement."""
INTERRUPTED = "interrupted"
"""SQLite's message for it."""
STEPS = 100_000
"""Instructions of SQLite's virtual machine between two checks of the time; about a millisecond."""
TEXT = "The database took too long to respond. Narrow the search, remove filters or columns, or try again later."

_request = threading.local()


def install() -> None:
    """Limit all connections that this process opens from now on."""
    if not (limit_s := web_settings().page_query_s):
        return
    for configuration in connections.settings.values():
        if configuration["ENGINE"].endswith("postgresql"):
            options = configuration["OPTIONS"]
            options["options"] = f"{options.get('options', '')} -c statement_timeout={limit_s * 1000:.0f}".strip()
    connection_created.connect(limit_sqlite, dispatch_uid="athanor.query_limits")


def limit_sqlite(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor == "sqlite":
        connection.connection.set_progress_handler(_is_late, STEPS)
        connection.connection.create_function("regexp", 2, _refuse)


def _is_late() -> bool:
    return time.monotonic() > getattr(_request, "ends_at", float("inf"))


def _refuse(*_: object) -> bool:
    raise ValueError("pages do not use regular expressions")


class QueryLimit:
    """Middleware that limits the queries of a request, and responds with status 503 if they take too long."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        _request.ends_at = time.monotonic() + (web_settings().page_query_s or float("inf"))
        try:
            return self.get_response(request)
        finally:
            del _request.ends_at

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_time_out(error):
            return None
        _request.ends_at = float("inf")  # the error page has queries, too
        if "text/html" not in request.headers.get("Accept", "") or not request.user.is_authenticated:
            response = HttpResponse(TEXT, content_type="text/plain; charset=utf-8", status=503)
        else:
            context = {**admin.site.each_context(request), "title": "Query timed out", "text": TEXT}
            response = render(request, "athanor/too_slow.html", context, status=503)
        response.headers["Retry-After"] = "60"
        return response


def is_time_out(error: BaseException) -> bool:
    is_canceled = getattr(error.__cause__, "sqlstate", None) == QUERY_CANCELED
    return isinstance(error, OperationalError) and (is_canceled or str(error) == INTERRUPTED)
