"""Is this web server able to do its work? Asked by load balancers, containers and `up`, without a session."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connection
from starlette.requests import Request
from starlette.responses import JSONResponse

from athanor.embedded import redis

OK = "ok"


async def healthz(_: Request) -> JSONResponse:
    """`{"status": "ok", "database": "ok", "redis": "ok"}`, or status 503 with what cannot be reached."""
    answer = await sync_to_async(examine, thread_sensitive=False)()
    return JSONResponse(
        answer, status_code=200 if answer["status"] == OK else 503, headers={"Cache-Control": "no-store"}
    )


def examine() -> dict[str, str]:
    """Try the database and Redis; blocks for a few seconds at most."""
    found = {"database": OK if _database_answers() else "unreachable"}
    found["redis"] = OK if redis.answers(settings.REDIS_URL) else "unreachable"
    return {"status": OK if set(found.values()) == {OK} else "degraded", **found}


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    finally:
        connection.close()  # this thread may never be asked again
    return True
