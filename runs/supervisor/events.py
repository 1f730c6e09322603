"""Events that other threads post to a watch loop. The loop alone decides how to react to them."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass

from runs.forkserver.client import Exit
from runs.lines.buffer import Notice
from runs.supervisor.resources import Usage


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Another worker may own the attempt now."""


@dataclass(frozen=True, slots=True)
class Draining:
    """Stop of the worker."""

    hurry: bool = False
    """True if no drain time is left."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured resources of the child's process tree."""

    usage: Usage


Event = Notice | Exit | LeaseLost | Draining | Measured


class Inbox:
    """A queue of events with a file descriptor that becomes readable, for a selector. Closed by its reader."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._closed = False

    def fileno(self) -> int:
        return self._reading

    def post(self, event: Event) -> None:
        """Add an event, from any thread. Dropped once the inbox is closed."""
        with self._lock:
            if self._closed:
                return
            self._events.append(event)
            if len(self._events) == 1:
                os.write(self._writing, b"!")

    def take(self) -> list[Event]:
        """Remove and return all events, oldest first."""
        with self._lock:
            events = list(self._events)
            if events:
                self._events.clear()
                os.read(self._reading, 16)
            return events

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._reading)
                os.close(self._writing)
