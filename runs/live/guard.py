"""Guard of open streams: ends those whose user may no longer watch, and counts the streams of each user."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError

from runs.conf import runs_settings
from runs.live.access import Answer, may_watch
from runs.live.threads import in_thread

SHARE = 0.1
"""Largest share of the time that checks may take. With many sessions, they become less frequent."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Watch:
    """Open stream of a user on a run."""

    user_id: int
    cookies: str
    run_id: int
    bell: asyncio.Event
    is_over: bool = False

    def end(self) -> None:
        self.is_over = True
        self.bell.set()


class Guard:
    """Guard of the streams of a web process. For one event loop."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._by_user: Counter[int] = Counter()
        self._woken = asyncio.Event()

    def count(self, user_id: int) -> int:
        return self._by_user[user_id]

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[Watch]:
        self._watches.add(watch)
        self._by_user[watch.user_id] += 1
        self._woken.set()
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            self._by_user[watch.user_id] -= 1
            self._by_user += Counter()  # removes zeros

    async def run(self) -> None:
        """Check all streams periodically until cancelled."""
        took_s = 0.0
        while True:
            self._woken.clear()
            if not self._watches:
                await self._woken.wait()
            await asyncio.sleep(max(runs_settings().stream_check_s, took_s / SHARE))
            began = time.monotonic()
            try:
                await self.check()
            except Exception:  # or no stream would be checked any more
                log.exception("cannot check the permissions of open pages; trying again")
            took_s = time.monotonic() - began

    async def check(self) -> None:
        """Check each session and run once, one after the other, so that many streams cause no burst of queries."""
        by_session: dict[tuple[str, int], list[Watch]] = {}
        for watch in self._watches:
            by_session.setdefault((watch.cookies, watch.run_id), []).append(watch)
        for session, watches in by_session.items():
            try:
                answer, _ = await in_thread(may_watch, *session)
            except (DatabaseError, InterfaceError) as error:
                log.info("Cannot check the permissions of open pages, trying again later: %s", str(error).strip())
                return
            if answer != Answer.MAY:
                for watch in watches:
                    watch.end()
