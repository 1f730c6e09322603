"""Marks in the environment of every process that an experiment may have started, to find the orphans of dead workers.

Imports nothing.
"""

from __future__ import annotations

from typing import NamedTuple

SERVER_MARK = "ATHANOR_FORKSERVER"
"""Variable of every process that descends from one fork server."""
ATTEMPT_MARK = "ATHANOR_ATTEMPT"
"""Variable that names the attempt, for an experiment's own sub-processes."""


class ServerMark(NamedTuple):
    """Identity of a fork server's worker: a process of this boot (or container), identified by its start time."""

    boot_id: str
    worker_pid: int
    worker_started: float
    token: str
    """Distinguishes the fork servers of one worker."""

    def __str__(self) -> str:
        return f"{self.boot_id} {self.worker_pid} {self.worker_started:.2f} {self.token}"

    @classmethod
    def parsed(cls, text: str) -> ServerMark | None:
        """Parse a mark; None if the text is not a mark of this version."""
        try:
            boot_id, pid, started, token = text.split(" ")
            return cls(boot_id, int(pid), float(started), token)
        except ValueError:
            return None
