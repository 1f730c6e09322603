"""Headers of proxies: used if ATHANOR_TRUSTED_PROXIES names the proxy, and then removed from each request."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

FORWARDED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip"}
)
NEEDED_OPTIONS = {
    "--no-proxy-headers": (
        "trusts X-Forwarded-For of 127.0.0.1 or FORWARDED_ALLOW_IPS, whatever ATHANOR_TRUSTED_PROXIES says"
    ),
    "--http athanor.connections:Connection": "never closes a connection whose request does not arrive",
}

logger = logging.getLogger(__name__)


class TrustedProxies:
    """ASGI middleware that sets the client's address and the scheme from the headers of trusted proxies."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        inner = cast(Any, self._without_forwarded)
        self._trusting = cast(ASGIApp, ProxyHeadersMiddleware(inner, list(trusted))) if trusted else inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._trusting(scope, receive, send)

    async def _without_forwarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if headers := scope.get("headers"):
            scope["headers"] = [(name, value) for name, value in headers if name.lower() not in FORWARDED]
        await self._app(scope, receive, send)


def warn_of_missing_options() -> None:
    """Log a warning for each option that is missing from the command line of uvicorn."""
    if "uvicorn" not in sys.argv[0]:
        return
    for option, text in NEEDED_OPTIONS.items():
        if not set(option.split()) <= set(sys.argv):
            logger.warning("uvicorn %s. Start it with %s.", text, option)
