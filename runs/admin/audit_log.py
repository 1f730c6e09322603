"""Django's log of what was done in the admin, with the address that it was done from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import Model
from django.http import HttpRequest


def keep(request: HttpRequest, objects: Iterable[Model], flag: int, text: str) -> Any:
    """Keep in Django's log who did this, and from where."""
    address = request.META.get("REMOTE_ADDR") or "unknown"
    return LogEntry.objects.log_actions(int(request.user.pk or 0), objects, flag, f"{text}, from {address}")


class LogsWhere:
    """Before a ModelAdmin: what its own forms do is kept with the address, too."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return keep(request, [obj], ADDITION, in_words(message))

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return keep(request, [obj], CHANGE, in_words(message))

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        """Called before the deletion."""
        return keep(request, queryset, DELETION, "Deleted")


def in_words(message: Any) -> str:
    """What Django shows of a message, which may be a sentence or a structure of what was changed."""
    stored = message if isinstance(message, str) else json.dumps(message)
    return LogEntry(change_message=stored).get_change_message().rstrip(".")
