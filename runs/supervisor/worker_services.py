"""Services of a worker that its supervisors need, as one value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from runs.conf import RunsSettings
from runs.forkserver.servers import ForkServers
from runs.lines.buffer import Buffer
from runs.models import Attempt
from runs.states import AttemptKey
from runs.supervisor.events import Event
from runs.supervisor.recorder import Recorder
from runs.supervisor.resources import Usage


class Member(Protocol):
    """Interface of a supervisor for its worker. Its methods never block."""

    key: AttemptKey
    pid: int | None
    """Pid of the child, once it is started."""

    def post(self, event: Event) -> None: ...

    def measured(self, usage: Usage) -> None: ...


class Leases(Protocol):
    """Leases of a worker's attempts."""

    @property
    def age_s(self) -> float:
        """Seconds since the last renewal."""

    def holds(self, key: AttemptKey) -> bool:
        """Return whether this worker certainly holds the lease of an attempt now."""

    def start_before(self, key: AttemptKey) -> float | None:
        """Return the time of the lease clock before which the attempt may start; None if it must not."""


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """Shared by all supervisors of a worker; thread-safe."""

    conf: RunsSettings
    buffer: Buffer
    forkservers: ForkServers
    recorder: Recorder
    leases: Leases
    hurrying: threading.Event
    """Set when the drain time of the runs is over."""
    claim: Callable[[Sequence[str], str], Attempt | None]
    """Claim the next due run of these queues for this Celery task, if the worker admits one."""
    join: Callable[[Member], None]
    """Register a supervisor for the events of its attempt."""
    leave: Callable[[AttemptKey], None]
    """Unregister an attempt, and stop renewing its lease."""
    turn_to_write: Callable[[], AbstractContextManager[None]]
    """Wait for a turn to write to the database."""
    linger_s: Callable[[], float]
    """Return the seconds to wait for more output: a busy worker reads and sends more at once."""
