"""Django's log of admin actions, with the address of the client."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import Model
from django.http import HttpRequest

from runs import clients


def keep(request: HttpRequest, objects: Iterable[Model], flag: int, text: str) -> Any:
    """Record an action with its user and address."""
    return LogEntry.objects.log_actions(
        int(request.user.pk or 0), objects, flag, f"{text}, from {clients.address(request)}"
    )


class LogsWhere:
    """Mixin for a ModelAdmin, put before it: records also the actions of its own forms with the address."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return keep(request, [obj], ADDITION, in_words(message))

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return keep(request, [obj], CHANGE, in_words(message))

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        """Record a deletion. Django calls this before it deletes."""
        return keep(request, queryset, DELETION, "Deleted")


def in_words(message: Any) -> str:
    """Format a message as Django shows it; it is a sentence or a structure of changes."""
    stored = message if isinstance(message, str) else json.dumps(message)
    return LogEntry(change_message=stored).get_change_message().rstrip(".")
