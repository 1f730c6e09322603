"""Limits on failed logins, by name and address and by address alone. django-axes counts them in the database.

A lock-out by name alone would let anybody lock out everybody. Refused logins write nothing, and their passwords are not
hashed, so that a flood of them costs neither the database's write lock nor much CPU time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse

from athanor.conf import web_settings

IPV6_PREFIX_BITS = 64
"""Size of the smallest network that one client usually has."""
NAME_MAX_CHARS = 255


def client_address(request: HttpRequest) -> str | None:
    """Return the address under which failures are counted; None if it is unknown, as on a unix socket."""
    try:
        parsed = ip_address(request.META.get("REMOTE_ADDR") or "")
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ip_network((parsed, IPV6_PREFIX_BITS), strict=False).network_address)
    return str(parsed)


def client_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str | None:
    """Return the name under which failures are counted: what was entered, as much as the database's column holds."""
    name = (credentials or request.POST).get("username")
    return None if name is None else str(name)[:NAME_MAX_CHARS]


def failures_max(_request: HttpRequest, _credentials: dict[str, Any] | None) -> int:
    return web_settings().login_failures_max


def cool_off(_request: HttpRequest | None = None) -> timedelta:
    return timedelta(seconds=web_settings().login_cool_off_s)


def refusal() -> str:
    """Return the text for a person who is locked out."""
    minutes = math.ceil(web_settings().login_cool_off_s / 60)
    return (
        f"Too many failed logins. Try again in {minutes} minute{'s' if minutes > 1 else ''}, or ask an administrator"
        " to unlock the login."
    )


class LockedOut:
    """Middleware that gives the login page, whose form has the refusal, the status of one.

    The package's own is not used: under ASGI it drops the page.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if getattr(request, "axes_locked_out", False):
            response.status_code = 429
            response.headers["Retry-After"] = str(math.ceil(web_settings().login_cool_off_s))
        return response


class Handler(AxesDatabaseHandler):
    """Counts in one row for each name and address, and all names of an address together."""

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        if request is not None:
            request.axes_user_agent = ""  # type: ignore[attr-defined]  # else each value would have its own row
        super().user_login_failed(sender, credentials, request, **kwargs)

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        limits = web_settings()
        attempts = AccessAttempt.objects.filter(
            ip_address=client_address(request), attempt_time__gte=get_cool_off_threshold(request)
        )
        by_address = attempts.aggregate(total=Sum("failures_since_start"))["total"] or 0
        if by_address >= limits.login_failures_by_address_max:
            return max(limits.login_failures_max, int(by_address))
        return int(super().get_failures(request, credentials))
