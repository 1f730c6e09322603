"""What the home page warns of: a silent beat, schedules that cannot launch or paused themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from runs.schedules import health


def with_warnings(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The home page's context with `health`, for who may see schedules."""
    return context | {"health": health.health() if request.user.has_perm("runs.view_schedule") else []}
