"""Specification of a child, and its exit."""

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
    """Name in the registry."""
    configuration: dict[str, Any]
    limits: dict[str, Any]
    seed: int
    slot: str | None
    """ISO 8601."""
    folder: Path
    """Folder of the run: `work/` is ctx.workdir, `artifacts/<attempt>/` has artifacts."""
    stacks_path: Path
    """File to which the child writes the stacks of its threads, on request and before it dies of a fatal signal."""
    restored: dict[str, Any] | None
    """Last checkpoint, packed by `experiments.jsonvalues`."""
    line_max_bytes: int
    record_max_bytes: int
    checkpoint_max_bytes: int


class Fate(StrEnum):
    """External cause that ended a child. Its run is then lost, not failed."""

    NONE = ""
    LEASE = "lease"
    """Its worker did not renew the lease in time, or no longer holds it."""
    SERVER = "server"
    """Its fork server was killed or stopped."""
    EXHAUSTED = "exhausted"
    """It was not started: the machine had no free open files, processes or memory."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Exit of a child, reported only when no process of its tree remains."""

    status: int | None
    """Exit status; None if a signal ended the child."""
    signal: int | None
    cpu_seconds: float
    """User and system time of the child and the descendants that it waited for."""
    peak_memory_bytes: int
    """Peak of the child or of the largest of those descendants, whichever is larger."""
    orphans_killed: int
    """Number of its descendants that had to be killed."""
    fate: Fate = Fate.NONE
    company: int = 0
    """Number of other children of the fork server then, if `fate` is set: any of them may be the cause."""
