"""Health check of the web server, for load balancers, containers and `up`. Needs no session."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from starlette.requests import Request
from starlette.responses import JSONResponse

from athanor.embedded import redis

OK = "ok"


async def healthz(_: Request) -> JSONResponse:
    """`{"status": "ok", "database": "ok", "redis": "ok"}`, or status 503 and the unreachable service."""
    answer = await sync_to_async(examine, thread_sensitive=False)()
    return JSONResponse(
        answer, status_code=200 if answer["status"] == OK else 503, headers={"Cache-Control": "no-store"}
    )


def examine() -> dict[str, str]:
    """Try the database and Redis; blocks for a few seconds at most."""
    services = {"database": OK if _database_answers() else "unreachable"}
    services["redis"] = OK if redis.answers(settings.REDIS_URL) else "unreachable"
    return {"status": OK if set(services.values()) == {OK} else "degraded", **services}


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        return False
    finally:
        connection.close()  # this thread may never run again
    return True
