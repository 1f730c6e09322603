"""Security headers of all responses: of Django, streams, static files and errors."""

from __future__ import annotations

from django.conf import settings
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FEATURES = (
    "accelerometer",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "microphone",
    "midi",
    "payment",
    "usb",
)
DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # pages have athanor.middleware's
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """ASGI middleware that sets each header that the application has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": complete(list(message.get("headers", ())), scope["scheme"])}
            await send(message)

        return await self._app(scope, receive, send_with_headers)


def complete(headers: list[tuple[bytes, bytes]], scheme: str) -> list[tuple[bytes, bytes]]:
    """Add the default of each missing header. Names in Django's responses have capital letters."""
    defaults = dict(DEFAULTS)
    if scheme == "https" and settings.SECURE_HSTS_SECONDS:
        defaults["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
    present = {name.lower() for name, _ in headers}
    missing = ((name.lower().encode(), value.encode()) for name, value in defaults.items())
    return headers + [(name, value) for name, value in missing if name not in present]
