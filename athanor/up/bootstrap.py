"""Database steps of `up` before it starts any process. Each is safe to repeat."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connections

from experiments.umask import PRIVATE_FILE

ADMIN = "admin"


class NotLocal(Exception):
    """A user of single sign-on has the name of the first user."""


def prepare() -> str:
    """Migrate the database and create the first user. Return as JSON its `password`, and the `error` if it failed."""
    password, error = None, ""
    try:
        migrate()
        password = create_first_admin()
    except (DatabaseError, OSError) as failure:
        error = str(failure).strip() or type(failure).__name__
    return json.dumps({"password": password or "", "error": error})


def migrate() -> None:
    call_command("migrate", interactive=False, verbosity=0)


def create_first_admin() -> str | None:
    """Create the user `admin` if there is no superuser yet; return the password, or None if no user was created."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists() or users.filter(username=ADMIN).exists():
        return None
    return reset_password()


def reset_password() -> str:
    """Give the user `admin` a new password and the rights of a superuser; create the user if necessary.

    Raises NotLocal if the user was created by single sign-on: anyone at the provider may have chosen that name.
    """
    password = secrets.token_urlsafe(12)
    users = get_user_model().objects
    user = users.filter(username=ADMIN).first()
    if user and not user.is_superuser and not user.has_usable_password():
        raise NotLocal(f"The user {ADMIN} logs in by single sign-on only. Create another with `createsuperuser`.")
    user = user or users.create_superuser(username=ADMIN, email="")
    user.is_active = user.is_staff = user.is_superuser = True
    user.set_password(password)
    user.save()
    return password


def login_text(password: str | None) -> str:
    """Describe how to log in. `password` is None unless it has just been set: the database keeps only its hash."""
    if password:
        return f"Log in as {ADMIN} with the password {password}"
    return f"Forgot the password of {ADMIN}? `./manage.py up --reset-password` sets a new one."


def keep_password(var: Path, password: str) -> Path:
    """Write the first password to a file that only this user can read; return its path. Raises OSError.

    Others may store standard output: a container engine, a service manager, a CI system.
    """
    file = var / "first_password"
    file.unlink(missing_ok=True)
    file.touch(PRIVATE_FILE, exist_ok=False)
    file.write_text(f"{password}\n")
    return file


def kept_login_text(file: Path) -> str:
    return f"Log in as {ADMIN} with the password in {file}, then change it and delete the file."


def release_connections() -> None:
    """Close all database connections. The group itself needs none from here on."""
    connections.close_all()
