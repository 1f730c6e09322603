"""Helpers of the tests of the admin."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from runs.models import Run
from tests.factories import make_attempt, make_run
from tests.output import end_run, store_lines

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7|add:7 }}\x1b]0;owned\x07"
"""Text that would do harm as markup, as a template or in a terminal."""


def page_of(run: Run, name: str = "change") -> str:
    return reverse(f"admin:runs_run_{name}", args=[run.pk])


def finished(**values: Any) -> Run:
    attempt = make_attempt(make_run(configuration={"behaviour": "ok"}, **values))
    store_lines(attempt, range(1, 4))
    return end_run(attempt)
