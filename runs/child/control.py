"""Messages from the worker to its child: cancel, stopping, acknowledgements.

A thread reads the control pipe. The flags are in shared memory: processes that the experiment forks, such as the
workers of a DataLoader, see them too.
"""

from __future__ import annotations

import mmap
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from runs.child.clocks import CLOCKS
from runs.child.pipe import PipeClosed

_CANCELLED, _STOPPING, _SEEN = range(3)
POLL_S = 0.2
"""Interval at which a waiting process checks the flags."""
TICK_S = 0.25
"""Interval of `on_tick`."""
_READ_BYTES = 64 * 1024


class Control:
    """Control pipe of the child. `listen` starts a thread that calls `on_gone` when the worker has ended, and `on_tick`
    every TICK_S.
    """

    def __init__(self, fd: int, *, on_gone: Callable[[], None], on_tick: Callable[[], None] = lambda: None) -> None:
        self._fd = fd
        self._on_gone, self.on_tick = on_gone, on_tick
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._rest = b""
        self._changed = threading.Condition()
        self._acknowledged = 0
        self._refused, self._refusal = 0, ""
        self._pid = os.getpid()

    @property
    def cancelled(self) -> bool:
        return self._page[_CANCELLED] != 0

    @property
    def stopping(self) -> bool:
        return self._page[_STOPPING] != 0

    @property
    def is_forked(self) -> bool:
        """True in a process that the experiment forked, where the thread does not run."""
        return os.getpid() != self._pid

    def mark_cancel_seen(self) -> bool:
        """Mark the cancel as noticed. Return False if it was marked before."""
        if self._page[_SEEN]:
            return False
        self._page[_SEEN] = 1
        return True

    def cancel(self) -> None:
        """Set the flag, and wake waiting threads. Signal handlers call `set_cancelled` instead."""
        self.set_cancelled()
        with self._changed:
            self._changed.notify_all()

    def set_cancelled(self) -> None:
        self._page[_CANCELLED] = 1

    def wait(self, seconds: float) -> bool:
        """Wait, at most until the run is cancelled. Return whether it is."""
        deadline = CLOCKS.monotonic() + seconds
        while not self.cancelled and (left := deadline - CLOCKS.monotonic()) > 0:
            if self.is_forked:
                CLOCKS.sleep(min(left, POLL_S))
            else:
                with self._changed:
                    if not self.cancelled:
                        self._changed.wait(min(left, POLL_S))
        return self.cancelled

    def wait_for_acknowledgement(self, number: int) -> bool:
        """Wait until checkpoint `number` or a later one is acknowledged, or the run is cancelled. Return whether it was
        acknowledged. Raises ValueError if the worker refuses it: it is not stored.
        """
        while max(self._acknowledged, self._refused) < number and not self.cancelled:
            with self._changed:
                if max(self._acknowledged, self._refused) < number and not self.cancelled:
                    self._changed.wait(POLL_S)
        if self._acknowledged < number <= self._refused:
            raise ValueError(self._refusal)
        return self._acknowledged >= number

    def listen(self) -> None:
        threading.Thread(target=self._listen, name="athanor-control", daemon=True).start()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            events = poll.poll(TICK_S * 1000)
            if events and not self._read(events[0][1]):
                return
            with suppress(PipeClosed):
                self.on_tick()

    def _read(self, events: int) -> bool:
        """Handle the messages that have arrived. Return False if no more can arrive."""
        if events & select.POLLNVAL:  # the experiment has closed the descriptor
            return False
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:
            return False
        if not data:
            self._on_gone()
            return False
        *messages, self._rest = (self._rest + data).split(b"\n")
        for message in messages:
            with suppress(msgspec.MsgspecError, KeyError, TypeError, ValueError):
                self._take(msgspec.json.decode(message))
        return True

    def _take(self, message: dict[str, Any]) -> None:
        match message["do"]:
            case "cancel":
                self.cancel()
            case "stopping":
                self._page[_STOPPING] = 1
            case "ack":
                with self._changed:
                    self._acknowledged = max(self._acknowledged, int(message["id"]))
                    self._changed.notify_all()
            case "refused":
                with self._changed:
                    self._refused, self._refusal = int(message["id"]), str(message["why"])
                    self._changed.notify_all()
