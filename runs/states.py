"""The closed sets that the whole app agrees on. Imports nothing of it."""

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

    ERROR = "error", "The experiment raised an error or said that it failed"
    CONFIG = "config", "The configuration does not fit the experiment"
    START = "start", "The experiment could not be started"
    TIMEOUT = "timeout", "It ran longer than its time limit"
    STALLED = "stalled", "It was silent for longer than its stall limit"
    MEMORY = "memory", "It used more memory than its limit"
    CRASHED = "crashed", "Its process ended by a signal or without a word"
    LOST = "lost", "Its worker vanished"


class AttemptEnd(TextChoices):
    """How one attempt ended. Those of a run's last attempt agree with the run's status."""

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
    """Where a line came from."""

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
    """What a run has from the run it was made from."""

    RETRY = "retry", "Retry: goes on from its last checkpoint"
    RERUN = "rerun", "Rerun: starts clean"
    REPRODUCE = "reproduce", "Reproduction: starts clean, and is compared"


class TimetableKind(TextChoices):
    """How a schedule says when."""

    CRON = "cron", "Cron expression"
    INTERVAL = "interval", "Interval"
    DATES = "dates", "List of dates"


class Overlap(TextChoices):
    """What a slot does that comes while a run of its schedule is still going."""

    SKIP = "skip", "Skip the slot"
    QUEUE_ONE = "queue_one", "Let one slot wait, skip the rest"
    QUEUE_ALL = "queue_all", "Let all slots wait, one after another"
    CANCEL = "cancel", "Cancel the running one, then launch"
    ALLOW = "allow", "Launch beside it"


class CatchUp(TextChoices):
    """What becomes of slots that nobody was there to see: the beat, the workers or the database were down."""

    NONE = "none", "None: they are missed"
    LATEST = "latest", "The latest of them, within the window"
    ALL = "all", "All of them within the window"


class SlotState(TextChoices):
    """What became of a slot. Only `waiting` is followed by another."""

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
    """Where a slot came from."""

    TIMETABLE = "timetable", "Timetable"
    LATE = "late", "Timetable, seen late"
    BACKFILL = "backfill", "Backfill"
    MANUAL = "manual", "By hand"


@dataclass(frozen=True, slots=True, order=True)
class AttemptKey:
    """One attempt at one run. Its number only grows: it is the fencing token that every write of an attempt carries."""

    run_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.run_id}.{self.number}"
