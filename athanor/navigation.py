"""Entries of the admin's sidebar, each shown to users who may view its target."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def item(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    """Return a link to the list of a model."""

    def may_view(request: HttpRequest) -> bool:
        return request.user.has_perm(f"{app}.view_{model}")

    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": may_view,
    }


def account(*, has_two_factor: bool) -> list[dict[str, Any]]:
    """Return additional links of the account menu."""
    return [{"title": "Two-factor authentication", "link": reverse_lazy("two_factor")}] if has_two_factor else []
