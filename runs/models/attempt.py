"""Worker processes, their attempts at runs, and the checkpoints of attempts."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from runs.conf import runs_settings
from runs.formatting import ProgressStart
from runs.models.run import Run
from runs.states import AttemptEnd, AttemptKey, FailureKind


class WorkerQuerySet(models.QuerySet["Worker"]):
    def live(self) -> WorkerQuerySet:
        """Workers that renewed their heartbeat within one lease and have not stopped."""
        return self.filter(stopped_at=None, heartbeat_at__gt=Now() - timedelta(seconds=runs_settings().lease_s))

    def served_queues(self) -> set[str]:
        """Queues that a live worker listens to."""
        return {queue for queues in self.live().values_list("queues", flat=True) for queue in queues}


class Worker(models.Model):
    """Worker process, from its start to its end. Host, boot, pid and start time identify a process permanently."""

    name = models.CharField(max_length=200, help_text="Celery's name of it: runs@host.")
    host = models.CharField(max_length=200)
    boot_id = models.CharField(max_length=64)
    pid = models.PositiveIntegerField()
    pid_started = models.FloatField(help_text="Start of the process in seconds, see runs.forkserver.machine.")
    queues = models.JSONField(default=list)
    slots = models.PositiveIntegerField(default=1)
    version = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopping_at = models.DateTimeField(null=True, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)
    claims = models.PositiveBigIntegerField(default=0, help_text="Runs that it has claimed.")
    idle_wakes = models.PositiveBigIntegerField(
        default=0, help_text="Wake-ups that found no due run: doubled messages, or another worker was faster."
    )

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index("heartbeat_at", name="worker_alive", condition=Q(stopped_at=None)),)

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def open(self, key: AttemptKey | None = None) -> AttemptQuerySet:
        """Attempts that have not ended; with `key`, only that one."""
        one = {} if key is None else {"run_id": key.run_id, "number": key.number}
        return self.filter(finished_at=None, **one)


class Attempt(models.Model):
    """Try at a run by one worker. Open until `finished_at`, and owned by its worker until its lease expires."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    worker = models.ForeignKey(Worker, null=True, on_delete=models.SET_NULL, related_name="attempts")
    task_id = models.CharField(max_length=255, blank=True, help_text="Of the Celery task and its stored result.")
    child_pid = models.PositiveIntegerField(null=True)

    claimed_at = models.DateTimeField(db_default=Now())
    lease_expires_at = models.DateTimeField()
    alone_until = models.DateTimeField(
        null=True, help_text="Its worker claims nothing else until then; see runs.losses."
    )
    started_at = models.DateTimeField(null=True, help_text="The experiment's first step.")
    finished_at = models.DateTimeField(null=True)
    progress_from = models.FloatField(null=True, help_text="First progress of this attempt, or of its newest phase.")
    progress_from_at = models.DateTimeField(null=True)

    end = models.CharField(max_length=10, blank=True, choices=AttemptEnd)
    failure_kind = models.CharField(max_length=10, blank=True, choices=FailureKind)
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    ended_by = models.CharField(
        max_length=200, blank=True, help_text="Who or what ended it, if not the experiment itself."
    )
    excused = models.BooleanField(
        default=False,
        db_default=False,
        help_text="A loss that is not counted: other runs were lost with it, or it had not started.",
    )
    exit_status = models.IntegerField(null=True)
    signal = models.PositiveSmallIntegerField(null=True)
    peak_memory_bytes = models.BigIntegerField(null=True)
    cpu_seconds = models.FloatField(null=True)
    memory_limit_bytes = models.BigIntegerField(
        null=True, help_text="Limit in force: the run's own, or its worker's default; empty is none."
    )
    certificate = models.JSONField(null=True, help_text="Failure report, see runs.recovery.failure_report.")
    restored = models.JSONField(
        null=True, help_text="Checkpoint from which it continued: attempt and number; null if it started from scratch."
    )
    inspection_asked_at = models.DateTimeField(null=True, help_text="Somebody wants to know where it is now.")
    inspection = models.JSONField(null=True, help_text="The answer to the last such question, see runs.inspections.")

    cancel_seen_at = models.DateTimeField(null=True, help_text="The experiment has noticed the cancel request.")
    interrupted_at = models.DateTimeField(null=True)
    terminated_at = models.DateTimeField(null=True, help_text="SIGTERM.")
    killed_at = models.DateTimeField(null=True, help_text="SIGKILL.")
    gone_at = models.DateTimeField(null=True, help_text="No process of it is left.")

    lines_emitted = models.BigIntegerField(null=True, help_text="Known once the attempt has ended.")
    results_emitted = models.BigIntegerField(null=True)
    lines_stored = models.JSONField(default=list, help_text="Closed ranges of stored seqs: [[1, 500]].")
    results_stored = models.JSONField(default=list)

    provenance = models.JSONField(
        default=dict, help_text="Code digest, git commit, versions, host; see runs.supervisor.provenance."
    )

    objects = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ("run", "number")
        indexes = (
            models.Index("lease_expires_at", name="attempt_open", condition=Q(finished_at=None)),
            models.Index("task_id", name="attempt_task"),
        )
        constraints = (
            models.UniqueConstraint("run", "number", name="attempt_unique_number"),
            models.UniqueConstraint("run", condition=Q(finished_at=None), name="attempt_one_open_per_run"),
            models.CheckConstraint(condition=Q(number__gte=1), name="attempt_number_positive"),
            models.CheckConstraint(condition=Q(end="") | Q(end__in=AttemptEnd.values), name="attempt_end_known"),
            models.CheckConstraint(
                condition=(Q(end="") & Q(finished_at=None)) | (~Q(end="") & Q(finished_at__isnull=False)),
                name="attempt_end_iff_finished",
            ),
        )

    def __str__(self) -> str:
        return f"Attempt {self.number} of run {self.run_id}"

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.run_id, self.number)

    @property
    def progress_start(self) -> ProgressStart | None:
        """Progress from which the pace of this attempt is measured; None while it is unknown."""
        if self.progress_from is None or self.progress_from_at is None:
            return None
        return ProgressStart(self.progress_from, self.progress_from_at)


class Checkpoint(models.Model):
    """Last checkpoint of a run. Each later one replaces it."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="checkpoint")
    attempt = models.PositiveIntegerField()
    number = models.PositiveIntegerField(help_text="Counts the checkpoints of the attempt.")
    state = models.JSONField()
    saved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"Checkpoint {self.attempt}.{self.number} of run {self.run_id}"
