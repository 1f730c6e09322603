"""The thread that carries one attempt's window to Redis, and carries it again when Redis has forgotten it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from runs.exceptions import BufferUnavailable
from runs.lines.buffer import Buffer, Stream
from runs.supervisor.window import Window

logger = logging.getLogger(__name__)


class Sender(threading.Thread):
    """Pushes what the window has beyond what Redis has. Never gives up: an unavailable Redis is asked again and again.

    Each push names the seq that Redis should have last (compare and append). Where Redis has another one, the push was
    already done (a time-out), or Redis was wiped, restarted or failed over, and what is not yet stored is sent again.
    Nothing is sent while `may_send` says no: the attempt may be somebody else's. `linger_s` is how long it waits for
    more before it sends: a busy worker sends more at once rather than more often.
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
        self._ending = threading.Event()
        self._troubled = False

    def run(self) -> None:
        while not self._ending.is_set():
            self.run_once()

    def run_once(self) -> None:
        """Wait a moment for something to send, send it, and make sure that Redis still has what is not stored."""
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
                else:
                    self._check(stream)
        except BufferUnavailable as error:
            self._trouble(error)
            self._ending.wait(self._retry_s)
        else:
            self._troubled = False

    def end(self) -> None:
        """Ask the thread to end soon; what it has not sent is the caller's."""
        self._ending.set()
        self._window.wake()

    def _send(self, stream: Stream) -> None:
        entries = self._window.after(stream, self._sent[stream], self._batch)
        if not entries:
            return
        pushed = self._buffer.push(
            self._window.key, stream, after=self._sent[stream], entries=entries, reset=self._reset[stream]
        )
        if pushed.accepted:
            self._sent[stream], self._reset[stream] = pushed.tail, False
        else:
            self._resume(stream, pushed.tail)

    def _check(self, stream: Stream) -> None:
        if self._sent[stream] > self._window.stored(stream):
            tail = self._buffer.tail(self._window.key, stream)
            if tail != self._sent[stream]:
                self._resume(stream, tail)

    def _resume(self, stream: Stream, tail: int) -> None:
        """Go on after the later of what Redis has and what the database has."""
        logger.warning("Run %s: Redis has %s up to %d, not %d", self._window.key, stream, tail, self._sent[stream])
        self._sent[stream] = max(tail, self._window.stored(stream))
        self._reset[stream] = self._sent[stream] != tail

    def _trouble(self, error: BufferUnavailable) -> None:
        if not self._troubled:
            logger.warning("Run %s waits for Redis: %s", self._window.key, error)
        self._troubled = True
