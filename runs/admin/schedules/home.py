"""Warnings about schedules for the home page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from runs.schedules import health


def with_warnings(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add `health` to the context of the home page, for users who may view schedules."""
    return context | {"health": health.health(request.user) if request.user.has_perm("runs.view_schedule") else []}
