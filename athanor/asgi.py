"""The web application: Django, with what Django is not made for in front of it.

Routes here are Starlette's: asynchronous to the end, without Django's middleware, sessions or a thread of their own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from django.core.asgi import get_asgi_application

from experiments import catalog

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "athanor.settings")

django_application = get_asgi_application()
catalog.use_process()

# After Django is set up, since they import what needs it.
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import BaseRoute, Mount, Route  # noqa: E402
from starlette.types import ASGIApp  # noqa: E402

from athanor import health, icon, static  # noqa: E402
from runs.live.hub import Hub  # noqa: E402
from runs.live.stream import Streams  # noqa: E402

hub = Hub()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Everything that lives as long as the server."""
    catalog.warm_up()
    yield
    await hub.close()


routes: list[BaseRoute] = [
    Route("/healthz", health.healthz),
    Route("/favicon.ico", icon.favicon),
    Route("/admin/runs/run/{run_id:int}/stream/", Streams(hub)),
    Mount("/static", static.AppStaticFiles()),
    Mount("/", cast(ASGIApp, django_application)),  # everything else; so it stays last
]

application = Starlette(routes=routes, lifespan=lifespan)
