"""Closed sets of values that the whole app uses. Imports no other module of it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import IntegerChoices, TextChoices


class Status(TextChoices):
    """pending → running → completed | failed | cancelled; pending → cancelled; running → pending (next attempt)."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
ACTIVE = frozenset({Status.PENDING, Status.RUNNING})


class FailureKind(TextChoices):
    """Why a run failed."""

    ERROR = "error", "The experiment raised an error"
    CONFIG = "config", "Invalid configuration"
    START = "start", "The experiment could not be started"
    TIMEOUT = "timeout", "Time limit exceeded"
    STALLED = "stalled", "No output for longer than the stall limit"
    MEMORY = "memory", "Memory limit exceeded"
    CRASHED = "crashed", "The process crashed"
    LOST = "lost", "The worker was lost"


class AttemptEnd(TextChoices):
    """End of an attempt. That of a run's last attempt agrees with the run's status."""

    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    LOST = "lost", "Lost"
    RELEASED = "released", "Handed back"


class Level(IntegerChoices):
    """Levels of lines, numbered as in `logging`."""

    DEBUG = 10, "debug"
    INFO = 20, "info"
    WARNING = 30, "warning"
    ERROR = 40, "error"
    CRITICAL = 50, "critical"


class Source(TextChoices):
    """Origin of a line."""

    LOG = "log", "ctx.log"
    STDOUT = "stdout", "standard output"
    STDERR = "stderr", "standard error"
    LOGGING = "logging", "logging"
    WARNING = "warning", "warnings"
    SYSTEM = "system", "Athanor"


class ResultKind(TextChoices):
    RESULT = "result", "Result"
    METRIC = "metric", "Metric"


class Origin(TextChoices):
    """Relation of a run to the run that it was launched from."""

    RETRY = "retry", "Retry: resumes from the last checkpoint"
    RERUN = "rerun", "Rerun: starts from scratch"
    REPRODUCE = "reproduce", "Reproduction: starts from scratch, results are compared"


class TimetableKind(TextChoices):
    """Kind of timetable."""

    CRON = "cron", "Cron expression"
    INTERVAL = "interval", "Interval"
    DATES = "dates", "List of dates"


class Overlap(TextChoices):
    """Policy for a slot that is due while a run of its schedule is still active."""

    SKIP = "skip", "Skip the slot"
    QUEUE_ONE = "queue_one", "Queue one slot, skip the rest"
    QUEUE_ALL = "queue_all", "Queue all slots, one after another"
    CANCEL = "cancel", "Cancel the running run, then launch"
    ALLOW = "allow", "Launch in parallel"


class CatchUp(TextChoices):
    """Policy for slots that were due while the beat, the workers or the database were down."""

    NONE = "none", "None: mark them as missed"
    LATEST = "latest", "The latest one within the window"
    ALL = "all", "All within the window"


class SlotState(TextChoices):
    """State of a slot. Only `waiting` is followed by another."""

    WAITING = "waiting", "Waiting"
    LAUNCHED = "launched", "Launched"
    CAUGHT_UP = "caught_up", "Caught up"
    SKIPPED = "skipped", "Skipped"
    MISSED = "missed", "Missed"
    PAUSED = "paused", "Paused"
    REFUSED = "refused", "Refused"


RAN = frozenset({SlotState.LAUNCHED, SlotState.CAUGHT_UP})
DID_NOT_RUN = frozenset({SlotState.SKIPPED, SlotState.MISSED, SlotState.PAUSED, SlotState.REFUSED})


class SlotKind(TextChoices):
    """Origin of a slot."""

    TIMETABLE = "timetable", "Timetable"
    LATE = "late", "Timetable, late"
    BACKFILL = "backfill", "Backfill"
    MANUAL = "manual", "Manual"


@dataclass(frozen=True, slots=True, order=True)
class AttemptKey:
    """Key of one attempt. Its number only grows: it is the fencing token that every write of an attempt carries."""

    run_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.run_id}.{self.number}"


class Door(TextChoices):
    """Interface through which an act came."""

    ADMIN = "admin", "Admin"
    COMMAND = "command", "Command"
    PYTHON = "python", "Python"
    SCHEDULE = "schedule", "Schedule"


class Act(TextChoices):
    """Acts of the audit log."""

    LAUNCH = "launch", "Launched"
    RETRY = "retry", "Retried"
    RERUN = "rerun", "Rerun"
    REPRODUCE = "reproduce", "Reproduced"
    CANCEL = "cancel", "Cancel requested"
    INSPECT = "inspect", "Stack trace requested"
    TAG = "tag", "Tagged"
    ADD = "add", "Added"
    CHANGE = "change", "Changed"
    DELETE = "delete", "Deleted"
    PAUSE = "pause", "Paused"
    RESUME = "resume", "Resumed"
    TRIGGER = "trigger", "Triggered"
    BACKFILL = "backfill", "Backfilled"
    DOWNLOAD = "download", "Downloaded"
    EXPORT = "export", "Exported"
    SIGN_IN = "sign_in", "Logged in"
    SIGN_IN_FAILED = "sign_in_failed", "Login failed"
    UNLOCK = "unlock", "Unlocked the login of"
    SIGN_OUT = "sign_out", "Logged out"
