"""Web application: Django, and in front of it the routes that must be asynchronous.

These routes are Starlette's: they use no Django middleware, no sessions and no thread per request.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from django.core.asgi import get_asgi_application

from experiments import catalog, umask

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "athanor.settings")
umask.make_private()

django_application = get_asgi_application()
catalog.use_process()

# Imported after Django is set up, since these modules need it.
from django.conf import settings  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import BaseRoute, Mount, Route  # noqa: E402
from starlette.types import ASGIApp  # noqa: E402

from athanor import headers, health, icon, proxies, query_limits, requests, static  # noqa: E402
from athanor.login import two_factor_settings  # noqa: E402
from runs.live.hub import Hub  # noqa: E402
from runs.live.stream import Streams  # noqa: E402
from runs.worker import capacity  # noqa: E402

two_factor_settings.refuse_problems(os.environ)
query_limits.install()
hub = Hub()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Start and stop what lives as long as the server."""
    capacity.raise_file_limit()
    catalog.warm_up()
    yield
    await hub.close()


routes: list[BaseRoute] = [
    Route("/healthz", health.healthz),
    Route("/favicon.ico", icon.favicon),
    Route("/admin/runs/run/{run_id:int}/stream/", Streams(hub)),
    Mount("/static", static.AppStaticFiles()),
    Mount("/", requests.Limits(cast(ASGIApp, django_application))),  # matches every path, so it must be last
]

site = headers.SecurityHeaders(Starlette(routes=routes, lifespan=lifespan))
application = proxies.TrustedProxies(site, settings.TRUSTED_PROXIES)
proxies.warn_of_missing_options()
