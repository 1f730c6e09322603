"""Who may do what, asked everywhere in the same words."""

from __future__ import annotations

from django.http import HttpRequest


def may_view(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.view_run") or request.user.has_perm("runs.change_run")


def may_cancel(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.cancel_run")


def may_launch(request: HttpRequest) -> bool:
    """Also retry and rerun: each is a launch."""
    return request.user.has_perm("runs.launch_run")


def may_delete(request: HttpRequest) -> bool:
    return request.user.has_perm("runs.delete_run")
