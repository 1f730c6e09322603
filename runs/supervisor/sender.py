"""Thread that pushes the window of one attempt to Redis, and again if Redis has lost it.

It starts with the first record: many short runs have none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from runs.exceptions import BufferCorrupt, BufferUnavailable
from runs.lines.buffer import Buffer, Stream
from runs.supervisor.window import Window

logger = logging.getLogger(__name__)

RESEND_AFTER_S = 10.0
"""Time after which entries that are neither in Redis nor stored are sent again."""


class SentWindow(Window):
    """Window that calls `on_first` once, before its first record is added."""

    def __init__(self, *arguments: Any, on_first: Callable[[], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_first, self._starting, self._has_started = on_first, threading.Lock(), False

    def add(self, stream: Stream, added: Sequence[bytes]) -> None:
        if added and not self._has_started:
            with self._starting:
                if not self._has_started:
                    self._on_first()
                    self._has_started = True
        super().add(stream, added)


class Sender(threading.Thread):
    """Push the entries of the window that Redis does not have. Tries again for as long as Redis is unavailable.

    Each push names the last seq that Redis should have (compare and append). If Redis has another one, the push was
    done already (a timeout), or Redis was wiped, restarted or failed over: entries that are not stored are sent again.
    So are entries that disappear from a list without being stored, after RESEND_AFTER_S: another program may have
    removed or altered them.

    Nothing is sent while `may_send` returns False: another worker may own the attempt. `linger_s` returns how long to
    wait for more entries before a push: a busy worker sends more at once rather than more often.
    """

    def __init__(
        self,
        window: Window,
        buffer: Buffer,
        *,
        batch: int,
        retry_s: float,
        check_s: float = 1.0,
        may_send: Callable[[], bool] = lambda: True,
        linger_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(name=f"sender-{window.key}", daemon=True)
        self._window, self._buffer = window, buffer
        self._batch, self._retry_s, self._check_s, self._may_send = batch, retry_s, check_s, may_send
        self._linger_s = linger_s
        self._sent = dict.fromkeys(Stream, 0)
        self._reset = dict.fromkeys(Stream, False)
        self._missing: dict[Stream, tuple[int, float]] = {}
        """Stream → seq up to which it is stored, and the time since which Redis lacks the entry after it."""
        self._checked_at = time.monotonic()
        self._ending = threading.Event()
        self._is_failing = False

    def run(self) -> None:
        while not self._ending.is_set():
            self.run_once()

    def run_once(self) -> None:
        """Wait for entries and push them. If there are none, check that Redis still has those that are not stored."""
        grown = self._window.wait_for_more(self._sent, self._check_s)
        if self._ending.wait(self._linger_s() if grown else 0):
            return
        if not self._may_send():
            self._ending.wait(self._retry_s)
            return
        try:
            for stream in Stream:
                if grown:
                    self._send(stream)
            if not grown or time.monotonic() - self._checked_at >= RESEND_AFTER_S:
                self._check()
        except BufferCorrupt as error:
            self._log_once(error)
            with suppress(BufferUnavailable):  # then the next push fails as well
                self._buffer.repair(self._window.key.run_id)
            self._ending.wait(self._retry_s)
        except BufferUnavailable as error:
            self._log_once(error)
            self._ending.wait(self._retry_s)
        else:
            self._is_failing = False

    @property
    def has_started(self) -> bool:
        """True if Redis may have entries of this attempt."""
        return self.ident is not None

    def end(self) -> None:
        """Make the thread end soon. It may leave entries unsent."""
        self._ending.set()
        self._window.wake()

    def _send(self, stream: Stream) -> None:
        """Push the next entries. Stored ones need not be in Redis: it may have been wiped after a flush."""
        self._sent[stream] = max(self._sent[stream], self._window.stored(stream))
        entries = self._window.after(stream, self._sent[stream], self._batch)
        if not entries:
            return
        pushed = self._buffer.push(
            self._window.key, stream, after=self._sent[stream], entries=entries, reset=self._reset[stream]
        )
        if pushed.accepted:
            self._sent[stream], self._reset[stream] = pushed.tail, False
        elif self._reset[stream]:
            self._overrule(stream)
        else:
            self._resume(stream, pushed.tail)

    def _overrule(self, stream: Stream) -> None:
        """Correct a Redis that names a later attempt. None exists while the worker has the lease of this one."""
        self._ending.wait(self._retry_s)
        if self._may_send():
            logger.warning("Run %s: Redis names a later attempt, but there is none", self._window.key)
            self._buffer.forget_tail(self._window.key.run_id, stream)

    def _check(self) -> None:
        self._checked_at = time.monotonic()
        for stream in Stream:
            if self._sent[stream] <= self._window.stored(stream):
                continue
            tail = self._buffer.tail(self._window.key, stream)
            if tail != self._sent[stream]:
                self._resume(stream, tail)
            elif self._has_lost_entries(stream):
                self._resume(stream, 0)
            else:
                self._buffer.mark_dirty(self._window.key.run_id)

    def _has_lost_entries(self, stream: Stream) -> bool:
        """Return whether Redis has lacked the entry after the last stored one for RESEND_AFTER_S."""
        stored, oldest = self._window.stored(stream), self._buffer.oldest(self._window.key, stream)
        if oldest is not None and oldest <= stored + 1:
            self._missing.pop(stream, None)
            return False
        last_stored, since = self._missing.get(stream, (-1, 0.0))
        if last_stored != stored:  # the notice of what is stored may be on its way
            self._missing[stream] = stored, time.monotonic()
            return False
        return time.monotonic() - since >= RESEND_AFTER_S

    def _resume(self, stream: Stream, tail: int) -> None:
        """Continue after the last entry in Redis or the database; after the last stored one if Redis lost some."""
        logger.warning("Run %s: Redis has %s up to %d, not %d", self._window.key, stream, tail, self._sent[stream])
        self._missing.pop(stream, None)
        if not 0 < tail <= self._window.emitted(stream):
            self._sent[stream], self._reset[stream] = self._window.stored(stream), True
            return
        self._sent[stream] = max(tail, self._window.stored(stream))
        self._reset[stream] = self._sent[stream] != tail

    def _log_once(self, error: BufferUnavailable) -> None:
        if not self._is_failing:
            logger.warning("Run %s: cannot push its lines to Redis; trying again: %s", self._window.key, error)
        self._is_failing = True
