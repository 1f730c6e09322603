"""What other threads tell a watch loop. Each is one small fact; the loop alone decides what follows."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass

from runs.forkserver.client import Exit
from runs.supervisor.resources import Usage


@dataclass(frozen=True, slots=True)
class CancelRequested:
    by: str


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The attempt is no longer this worker's."""


@dataclass(frozen=True, slots=True)
class Draining:
    """The worker is going down; with `hurry`, at once."""

    hurry: bool = False


@dataclass(frozen=True, slots=True)
class StoredUpTo:
    """Lines and results up to these seqs are in the database."""

    lines: int
    results: int


@dataclass(frozen=True, slots=True)
class Measured:
    usage: Usage


@dataclass(frozen=True, slots=True)
class InspectionAsked:
    """Somebody wants to know where the run is now."""


Event = Exit | CancelRequested | LeaseLost | Draining | StoredUpTo | Measured | InspectionAsked


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
        """Add an event, from any thread; after the close it is dropped."""
        with self._lock:
            if self._closed:
                return
            self._events.append(event)
            if len(self._events) == 1:
                os.write(self._writing, b"!")

    def take(self) -> list[Event]:
        """All events so far, oldest first."""
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
