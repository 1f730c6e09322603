"""Icon of the site: a flame."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1f1a17"/>'
    '<path d="M16 4c1 5 7 8 7 15a7 7 0 0 1-14 0c0-4 2-6 3-9 1 2 2 3 3 3 1-3 0-6 1-9z" fill="#f97316"/>'
    '<path d="M16 16c1 2 3 3 3 6a3 3 0 0 1-6 0c0-2 2-4 3-6z" fill="#fde68a"/></svg>'
)


async def favicon(_: Request) -> Response:
    return Response(SVG, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
