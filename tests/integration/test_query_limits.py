"""Queries of pages that take too long, on the database of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from athanor import query_limits
from athanor.conf import WebSettings
from athanor.urls import urlpatterns as of_the_site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("limited")]
SLOW = {
    "sqlite": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1e12) SELECT max(n) FROM t",
    "postgresql": "SELECT pg_sleep(60)",
}


def slow(_: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(SLOW[connection.vendor])
    raise AssertionError("no limit")


urlpatterns = [path("slow/", slow), *of_the_site]


@pytest.fixture
def limited(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limit this process's queries as those of a web process, until the test ends."""
    monkeypatch.setattr(query_limits, "web_settings", lambda: WebSettings(page_query_s=0.3))
    options: dict[str, Any] = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    connection.close()
    query_limits.install()
    try:
        with override_settings(ROOT_URLCONF=__name__):
            yield
    finally:
        options.clear()
        options.update(before)
        connection_created.disconnect(dispatch_uid="athanor.query_limits")
        connection.close()


@pytest.mark.parametrize(("accept", "is_page"), [("text/html", True), ("application/json", False)])
def test_a_page_with_a_slow_query_says_so(accept: str, is_page: bool) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    answer = client.get("/slow/", headers={"Accept": accept})
    assert answer.status_code == 503
    assert query_limits.TEXT in answer.content.decode()
    assert (b"<html" in answer.content) == is_page
    assert client.get("/admin/").status_code == 200, "the connection is good for the next request"


def test_the_anonymous_get_the_text_alone() -> None:
    answer = Client().get("/slow/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.content.decode()) == (503, query_limits.TEXT)


@pytest.mark.parametrize("error", [OperationalError("database is locked"), ValueError("interrupted")])
def test_other_errors_are_no_time_outs(error: Exception) -> None:
    assert not query_limits.is_time_out(error)


def test_pages_have_no_regular_expressions_on_sqlite() -> None:
    if connection.vendor == "sqlite":
        User.objects.create(username="ada")
        with pytest.raises(OperationalError):
            User.objects.filter(username__regex="(a+)+$").exists()
