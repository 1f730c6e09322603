"""The marks in the environment of every process that an experiment may have started: by them what a dead worker left
behind is found. Imports nothing.
"""

from __future__ import annotations

from typing import NamedTuple

SERVER_MARK = "ATHANOR_FORKSERVER"
"""Marks every process that descends from one fork server."""
ATTEMPT_MARK = "ATHANOR_ATTEMPT"
"""Tells an experiment's own sub-processes which attempt they belong to."""


class ServerMark(NamedTuple):
    """Whose fork server it was: a process of this boot (or container), for ever told from others by its start."""

    boot_id: str
    worker_pid: int
    worker_started: float
    token: str
    """Tells the fork servers of one worker apart."""

    def __str__(self) -> str:
        return f"{self.boot_id} {self.worker_pid} {self.worker_started:.2f} {self.token}"

    @classmethod
    def parsed(cls, text: str) -> ServerMark | None:
        """None for what is no such mark, as another version may have made."""
        try:
            boot_id, pid, started, token = text.split(" ")
            return cls(boot_id, int(pid), float(started), token)
        except ValueError:
            return None
