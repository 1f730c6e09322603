"""Every error of this app. The message says what happened, to which id, and what to do next."""

from __future__ import annotations

import errno


class RunsError(Exception):
    """Base class; `str()` of it is fit for people."""


class RunNotFound(RunsError):
    def __init__(self, run_id: object) -> None:
        super().__init__(f"There is no run {run_id}. `list_runs` shows which there are.")


class RunNotFinal(RunsError):
    def __init__(self, run_id: int, status: str, verb: str) -> None:
        super().__init__(
            f"Run {run_id} is {status}; only a finished run can be {verb}. Cancel it first, or wait for its end."
        )


class LaunchRefused(RunsError):
    """The run cannot be launched as asked. `problems` maps a field's dotted path to what is wrong with it."""

    def __init__(self, message: str, problems: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or {}


class TagsRefused(RunsError):
    """A run cannot have these tags."""


class LaunchPostponed(LaunchRefused):
    """Nobody can say right now whether it can be launched: experiments are still being loaded. Ask again later."""


class ScheduleNotFound(RunsError):
    def __init__(self, name: object) -> None:
        super().__init__(f"There is no schedule {name}. `list_schedules` shows which there are.")


class ScheduleRefused(RunsError):
    """The schedule cannot be as asked. `problems` maps a field's dotted path to what is wrong with it."""

    def __init__(self, message: str, problems: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or {}


class BufferUnavailable(RunsError):
    """Redis does not answer, is full or read-only. Whoever meets it waits and tries again; nothing is lost."""


class BufferFull(BufferUnavailable):
    """A run's list in Redis is as long as it may be, until what is in it has been stored."""


class SpawnFailed(RunsError):
    """The child of a run could not be started. `fate` says for what, if that has nothing to do with the run itself: a
    runs.forkserver.spec.Fate.
    """

    def __init__(self, message: str, fate: str = "") -> None:
        super().__init__(message)
        self.fate = fate


EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""What the system says when open files, processes or memory are used up."""


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that this process or machine has run out of something, which is not the fault of a run."""
    if isinstance(error, SpawnFailed):
        return error.fate == "exhausted"
    if isinstance(error, RuntimeError):
        return "can't start new thread" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in EXHAUSTED)
