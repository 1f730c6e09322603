"""Headers of proxies: believed from ATHANOR_TRUSTED_PROXIES only, and dropped before anything else reads them."""

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
OWN_OPTIONS = {
    "--no-proxy-headers": (
        "believes X-Forwarded-For of 127.0.0.1 or FORWARDED_ALLOW_IPS, whatever ATHANOR_TRUSTED_PROXIES says"
    ),
    "--http athanor.connections:Connection": "keeps connections open whose request never arrives",
}

logger = logging.getLogger(__name__)


class TrustedProxies:
    """ASGI middleware that sets the client's address and the scheme from the headers of trusted proxies."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        inner = cast(Any, self._without_forwarded)
        self._believing = cast(ASGIApp, ProxyHeadersMiddleware(inner, list(trusted))) if trusted else inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._believing(scope, receive, send)

    async def _without_forwarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if headers := scope.get("headers"):
            scope["headers"] = [(name, value) for name, value in headers if name.lower() not in FORWARDED]
        await self._app(scope, receive, send)


def warn_of_uvicorn() -> None:
    """Log a warning for each option that uvicorn, started by hand, is without."""
    if "uvicorn" not in sys.argv[0]:
        return
    for option, text in OWN_OPTIONS.items():
        if not set(option.split()) <= set(sys.argv):
            logger.warning("uvicorn %s. Start it with %s.", text, option)
