"""Django's `migrate`, which also creates the file of a SQLite database and its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Migrate
from django.db import connections

from experiments.umask import PRIVATE_FILE, PRIVATE_FOLDER


class Command(Migrate):
    def execute(self, *args: Any, **options: Any) -> str | None:
        _create_file(connections[options["database"]].settings_dict)
        return super().execute(*args, **options)


def _create_file(database: dict[str, Any]) -> None:
    """Create a SQLite file that only its user can read, and its folder. Raises CommandError if that fails."""
    name = str(database["NAME"])
    if not database["ENGINE"].endswith("sqlite3") or ":memory:" in name or name.startswith("file:"):
        return
    try:
        Path(name).parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        if not Path(name).exists():
            Path(name).touch(PRIVATE_FILE)  # the mode of its journals, too
    except OSError as error:
        raise CommandError(
            f"Cannot create the database {name}: {error.strerror}. Set ATHANOR_VAR to a writable folder."
        ) from error
