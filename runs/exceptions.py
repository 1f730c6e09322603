"""Errors of this app. Each message says what happened, to which id, and what to do next."""

from __future__ import annotations

import errno


class RunsError(Exception):
    """Base class. `str()` of an error is a message for users."""


class RunNotFound(RunsError):
    def __init__(self, run_id: object) -> None:
        super().__init__(f"There is no run {run_id}. Use `list_runs` to list the runs.")


class RunNotFinal(RunsError):
    def __init__(self, run_id: int, status: str, verb: str) -> None:
        super().__init__(
            f"Run {run_id} is {status}; only a finished run can be {verb}. Cancel it first, or wait for its end."
        )


class LaunchRefused(RunsError):
    """A run cannot be launched as requested. `problems` maps the dotted path of a field to its problem."""

    def __init__(self, message: str, problems: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or {}


class TagsRefused(RunsError):
    """A run cannot have these tags."""


class LaunchPostponed(LaunchRefused):
    """A launch cannot be validated yet, since the experiments are still being loaded. Try again later."""


class ScheduleNotFound(RunsError):
    def __init__(self, name: object) -> None:
        super().__init__(f"There is no schedule {name}. Use `list_schedules` to list the schedules.")


class ScheduleRefused(RunsError):
    """A schedule cannot be saved as requested. `problems` maps the dotted path of a field to its problem."""

    def __init__(self, message: str, problems: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or {}


class BufferUnavailable(RunsError):
    """Redis does not respond, is full or read-only. The caller waits and tries again; nothing is lost."""


class BufferCorrupt(BufferUnavailable):
    """A key in Redis has another type than ours. `Buffer.repair` removes it; nothing is lost."""


class BufferFull(BufferUnavailable):
    """A run's Redis list has reached its limit. It has room again after the next flush."""


class SpawnFailed(RunsError):
    """A child could not be started. `fate`: an external cause (runs.forkserver.spec.Fate), empty if there is none."""

    def __init__(self, message: str, fate: str = "") -> None:
        super().__init__(message)
        self.fate = fate


EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""Error numbers for exhausted open files, processes or memory."""


def is_exhaustion(error: BaseException) -> bool:
    """Return whether an error means that this process or machine has run out of a resource: no fault of the run."""
    if isinstance(error, SpawnFailed):
        return error.fate == "exhausted"
    if isinstance(error, RuntimeError):
        return "can't start new thread" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in EXHAUSTED)
