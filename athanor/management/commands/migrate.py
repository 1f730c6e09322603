"""Django's `migrate`, which also creates the folder of a SQLite database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Migrate
from django.db import connections


class Command(Migrate):
    def execute(self, *args: Any, **options: Any) -> str | None:
        _create_folder(connections[options["database"]].settings_dict)
        return super().execute(*args, **options)


def _create_folder(database: dict[str, Any]) -> None:
    """Create the folder of a SQLite file. Raises CommandError if it cannot be created."""
    name = str(database["NAME"])
    if not database["ENGINE"].endswith("sqlite3") or ":memory:" in name or name.startswith("file:"):
        return
    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"Cannot create the folder of the database {name}: {error.strerror}. Set ATHANOR_VAR to a writable folder."
        ) from error
