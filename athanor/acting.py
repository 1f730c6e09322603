"""Middleware that records the user and address of a request in the audit log."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from runs import audit, clients
from runs.audit import Actor
from runs.states import Door

Handler = Callable[[HttpRequest], HttpResponse]


class Acting:
    """Record the actions of a request as those of its user. Must come after the authentication middleware."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with audit.acting_as(lambda: actor(request)):
            return self.get_response(request)


def actor(request: HttpRequest) -> Actor:
    """Return the user of a request; the name is empty before the login."""
    user = request.user
    return Actor(Door.ADMIN, user.get_username(), int(user.pk) if user.pk else None, clients.address(request))
