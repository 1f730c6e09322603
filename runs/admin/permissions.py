"""Who may do what, asked everywhere in the same words."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


def may_view(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.view_run") or request.user.has_perm("runs.change_run")


def must_view(request: HttpRequest) -> None:
    """Raises PermissionDenied."""
    if not may_view(request):
        raise PermissionDenied


def may_cancel(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.cancel_run")


def may_inspect(request: HttpRequest) -> bool:
    """Its worker is asked to look at its processes: who may end a run may do that to it, too."""
    return may_cancel(request)


def may_launch(request: HttpRequest) -> bool:
    """Also retry and rerun: each is a launch."""
    return request.user.has_perm("runs.launch_run")


def may_delete(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.delete_run")


def may_tag(request: HttpRequest) -> bool:
    """Tags are the one thing of a run that people change."""
    return request.user.has_perm("runs.change_run")
