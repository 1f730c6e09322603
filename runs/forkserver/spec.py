"""What the worker tells about a child, and what it learns of its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from runs.states import AttemptKey


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """Everything that a child needs to run one attempt."""

    key: AttemptKey
    experiment: str
    """Its name in the registry."""
    configuration: dict[str, Any]
    limits: dict[str, Any]
    seed: int
    slot: str | None
    """ISO 8601."""
    folder: Path
    """The run's: `work/` is ctx.workdir, `artifacts/<attempt>/` holds artifacts, `stacks-<attempt>.txt` Python
    stacks.
    """
    restored: dict[str, Any] | None
    """The last checkpoint, packed as `experiments.jsonvalues` does."""
    line_max_bytes: int
    record_max_bytes: int
    checkpoint_max_bytes: int

    @property
    def stacks_path(self) -> Path:
        """Where the child writes the stacks of its threads when asked, and before it dies of a fatal signal."""
        return self.folder / f"stacks-{self.key.number}.txt"


class Fate(StrEnum):
    """What, besides itself, the supervisor and the machine, may end a child: then its run is lost, not failed."""

    NONE = ""
    LEASE = "lease"
    """Its worker did not renew the lease in time, or the attempt is not its own any more."""
    SERVER = "server"
    """The fork server was killed, or went down."""
    EXHAUSTED = "exhausted"
    """No child was started, since open files, processes or memory were used up. Not now is not never."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a child, told only when no process of its tree is left."""

    status: int | None
    """Exit status; None if it was ended by a signal."""
    signal: int | None
    cpu_seconds: float
    """User and system time of the child and of the descendants that it waited for."""
    peak_memory_bytes: int
    """Of the child or the largest of those descendants, whichever is larger."""
    orphans_killed: int
    """How many of its descendants had to be killed."""
    fate: Fate = Fate.NONE
    company: int = 0
    """Number of other children of the fork server then, if `fate` is set: any of them may be the cause."""
