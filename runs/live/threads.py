"""Threads in which streams query the database. Their number bounds the number of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import close_old_connections

THREADS = 2
T = TypeVar("T")
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="live")


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in one of the threads. Broken and old connections are replaced."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _call, function, *arguments)


def _call(function: Callable[..., T], *arguments: Any) -> T:
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
