"""Answers of `/healthz` when a service is unavailable."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from athanor import health

REQUEST = Request({"type": "http", "method": "GET", "path": "/healthz", "headers": []})


@pytest.mark.django_db(transaction=True)
def test_all_is_well(redis_url: str) -> None:
    assert health.examine() == {"status": "ok", "database": "ok", "redis": "ok"}


@pytest.mark.django_db(transaction=True)
def test_without_redis_it_is_degraded(settings: Any, tmp_path: Path) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"

    answer = asyncio.run(health.healthz(REQUEST))

    assert answer.status_code == 503
    assert json.loads(bytes(answer.body)) == {"status": "degraded", "database": "ok", "redis": "unreachable"}
