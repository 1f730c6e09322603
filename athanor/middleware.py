"""Response headers that Django does not set, and errors that it does not answer."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import SESSION_KEY, logout
from django.core.paginator import InvalidPage
from django.http import Http404, HttpRequest, HttpResponse

from runs import sessions

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",  # the admin's Alpine evaluates attributes; pages have no inline scripts
        "style-src 'self' 'unsafe-inline'",  # the admin's pages have inline colours
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        f"form-action 'self' {settings.OIDC_ORIGIN}".strip(),
        "frame-ancestors 'none'",
    )
)

Handler = Callable[[HttpRequest], HttpResponse]


class ContentSecurityPolicy:
    """Middleware that allows pages to load from this site only."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response


class SessionLife:
    """Middleware that ends a session that was idle for too long or is too old (runs.sessions)."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if SESSION_KEY in request.session:
            is_background = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "empty"
            if sessions.is_over(request.session):
                logout(request)
                if not is_background:
                    messages.info(request, "Your session has ended. Log in again.")
            elif not is_background:
                sessions.note(request.session)
        return self.get_response(request)


class InvalidPages:
    """Middleware that answers `?page=x` with status 404 where a view of another package does not expect it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> None:
        if isinstance(error, InvalidPage):
            raise Http404(str(error)) from error
