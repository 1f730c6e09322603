"""Permissions, checked in one place for all pages."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


def may_view(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.view_run") or request.user.has_perm("runs.change_run")


def must_view(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the user may view runs."""
    if not may_view(request):
        raise PermissionDenied


def may_cancel(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.cancel_run")


def may_inspect(request: HttpRequest) -> bool:
    """Return whether the user may capture stack traces of a run. Users who may cancel it may do so."""
    return may_cancel(request)


def may_launch(request: HttpRequest) -> bool:
    """Return whether the user may launch, retry and rerun."""
    return request.user.has_perm("runs.launch_run")


def may_delete(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.delete_run")


def may_tag(request: HttpRequest) -> bool:
    """Return whether the user may change tags, the only editable property of a run."""
    return request.user.has_perm("runs.change_run")
