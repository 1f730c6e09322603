"""What `up` does to the database before it starts anything. Each step may be repeated."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections

ADMIN = "admin"


def migrate() -> None:
    call_command("migrate", interactive=False, verbosity=0)


def create_first_admin() -> str | None:
    """The password of the user `admin`, who is created when there is no superuser yet; None when nobody was created."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists() or users.filter(username=ADMIN).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(username=ADMIN, email="", password=password)
    return password


def release_connections() -> None:
    """The group itself needs no database from here on."""
    connections.close_all()
