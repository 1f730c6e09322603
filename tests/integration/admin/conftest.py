"""Clients of people with different permissions, for the tests of pages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

VIEWER = ("runs.view_run", "runs.view_worker", "experiments.view_instance")
OPERATOR = (*VIEWER, "runs.launch_run", "runs.cancel_run", "runs.delete_run")


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the queues that were sent a wake-up; nobody receives it."""
    from runs import wake  # a conftest is read before Django is set up

    queues: list[str] = []
    monkeypatch.setattr(wake, "workers", lambda queue, count=1: queues.append(queue))
    return queues


@pytest.fixture
def as_user() -> Callable[..., Client]:
    """A client of a new member of the staff with these permissions."""

    from django.contrib.auth.models import Permission  # a conftest is read before Django is set up

    def make(*permissions: str, **values: Any) -> Client:
        user = get_user_model().objects.create(
            username=f"user{get_user_model().objects.count()}", is_staff=True, **values
        )
        for name in permissions:
            app, codename = name.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def own_groups(db: None) -> None:
    """Create the groups of the migrations again: a test that empties the tables removes them for later tests."""
    from django.apps import apps  # a conftest is read before Django is set up
    from django.db import connection

    import_module("runs.migrations.0002_groups").make_groups(apps, SimpleNamespace(connection=connection))


@pytest.fixture
def viewer(as_user: Callable[..., Client]) -> Client:
    return as_user(*VIEWER)


@pytest.fixture
def operator(as_user: Callable[..., Client]) -> Client:
    return as_user(*OPERATOR)
