"""Everything that a supervisor needs of its worker, as one value. The worker builds it once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from runs.conf import RunsSettings
from runs.forkserver.client import ForkServer
from runs.lines.buffer import Buffer
from runs.models import Attempt
from runs.states import AttemptKey
from runs.supervisor.events import Event
from runs.supervisor.recorder import Recorder
from runs.supervisor.resources import Usage


class Member(Protocol):
    """A supervisor as its worker knows it. Its methods never block."""

    key: AttemptKey
    pid: int | None
    """Of the child, once there is one."""

    def post(self, event: Event) -> None: ...

    def measured(self, usage: Usage) -> None: ...


class Leases(Protocol):
    """The leases of a worker's attempts."""

    @property
    def age_s(self) -> float:
        """Seconds since the last renewal."""

    def holds(self, key: AttemptKey) -> bool:
        """Whether the attempt is certainly this worker's now."""

    def start_before(self, key: AttemptKey) -> float | None:
        """Moment of the lease clock before which the attempt may be started; None if it is not this worker's."""


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """Shared by all supervisors of a worker; thread-safe."""

    conf: RunsSettings
    buffer: Buffer
    forkserver: ForkServer
    recorder: Recorder
    leases: Leases
    hurrying: threading.Event
    """Set when runs have no more time to end."""
    claim: Callable[[Sequence[str], str], Attempt | None]
    """Claim the next due run of these queues for this Celery task, if the worker admits one."""
    join: Callable[[Member], None]
    """Have a supervisor told of what concerns its attempt."""
    leave: Callable[[AttemptKey], None]
    """Forget an attempt: its lease is not renewed any more."""
    turn_to_write: Callable[[], AbstractContextManager[None]]
    """Wait for a turn at the database."""
    linger_s: Callable[[], float]
    """Seconds to wait for more output before it is read or sent, so that a busy worker handles more at once."""
