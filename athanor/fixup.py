"""Celery's Django fix-up without system checks.

At the start of a worker or beat, Celery's own runs all checks and drops their messages. They would load the pages of
the admin, a fifth of the process's memory, and start a catalog process.
"""

from __future__ import annotations

from typing import Any

import django
from celery import Celery
from celery.fixups.django import DjangoFixup


class Fixup(DjangoFixup):  # type: ignore[misc]  # celery is untyped
    def on_import_modules(self, **_: Any) -> None:
        """Set up Django before task modules are imported."""
        django.setup()


def install(app: Celery) -> Any:
    """Install the fix-up in `app`, which keeps it."""
    return Fixup(app).install()
