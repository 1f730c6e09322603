"""Execution of an experiment."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from experiments.limits import Limits
from experiments.models import Instance
from experiments.sealing import ConfigurationField
from runs.models import rights
from runs.states import ACTIVE, FINAL, AttemptKey, FailureKind, Origin, Status


class RunQuerySet(models.QuerySet["Run"]):
    def due(self) -> RunQuerySet:
        """Pending runs that may start now, in the order in which they are claimed."""
        may_start = Q(not_before=None) | Q(not_before__lte=Now())
        return self.filter(may_start, status=Status.PENDING).order_by("-priority", "id")

    def visible_to(self, user: Any) -> RunQuerySet:
        """Runs that the access rules let the user see. All pages, streams and searches use it."""
        return self.filter(rights.of(user).condition("view"))

    def cancellable_by(self, user: Any) -> RunQuerySet:
        """Visible runs that the user may cancel, tag, inspect and delete: their own, or by the access rules."""
        return self.visible_to(user).filter(Q(launched_by_id=user.pk) | rights.of(user).condition("cancel"))


class Run(models.Model):
    """Run: what was launched (copied at the launch, never changed after), its progress, and its end."""

    experiment = models.CharField(max_length=200)
    instance = models.ForeignKey(Instance, null=True, blank=True, on_delete=models.SET_NULL, related_name="runs")
    name = models.CharField(max_length=200, blank=True)
    tags = models.JSONField(default=list, blank=True)
    configuration = ConfigurationField(default=dict, blank=True)
    limits = models.JSONField(default=dict, blank=True, help_text="All limits in force, see experiments.limits.")
    seed = models.BigIntegerField()
    queue = models.CharField(max_length=100, default="runs")
    priority = models.SmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    alone_s = models.FloatField(
        null=True, blank=True, help_text="Seconds that the next attempt has its worker to itself; see runs.losses."
    )
    on_lost = models.CharField(max_length=10, default="retry")
    max_attempts = models.PositiveSmallIntegerField(default=3)
    retries = models.JSONField(
        default=dict,
        blank=True,
        help_text="Failure kind → how often and when it is tried again, see experiments.retry.",
    )
    schedule = models.ForeignKey("runs.Schedule", null=True, blank=True, on_delete=models.SET_NULL, related_name="runs")
    slot = models.DateTimeField(null=True, blank=True, help_text="The scheduled time this run was launched for.")

    origin = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="descendants")
    origin_kind = models.CharField(max_length=10, blank=True, choices=Origin)
    launched_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    launched_via = models.CharField(max_length=100, blank=True, help_text="admin, shell, python, schedule …")

    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    attempt = models.PositiveIntegerField(default=0, help_text="Number of the newest attempt: the fencing token.")
    failure_kind = models.CharField(max_length=10, blank=True, choices=FailureKind)
    error = models.TextField(blank=True, help_text="Why it failed, in a sentence.")
    summary = models.JSONField(null=True, blank=True, help_text="What the experiment returned.")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=200, blank=True)

    progress_current = models.FloatField(null=True, blank=True)
    progress_total = models.FloatField(null=True, blank=True)
    progress_message = models.CharField(max_length=500, blank=True)
    progress_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True, help_text="First claim.")
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("launch_run", "Can launch runs"),
            ("cancel_run", "Can cancel runs"),
        )
        indexes = (
            models.Index("queue", F("priority").desc(), "id", name="run_due", condition=Q(status="pending")),
            models.Index("status", F("id").desc(), name="run_status"),
            models.Index("experiment", F("id").desc(), name="run_experiment"),
            models.Index(fields=["created_at"], name="run_created"),
            models.Index(
                "experiment", "failure_kind", F("finished_at").desc(), name="run_failed", condition=Q(status="failed")
            ),
            models.Index("schedule", name="run_active_of_schedule", condition=Q(finished_at=None)),
        )
        constraints = (
            models.CheckConstraint(condition=Q(status__in=Status.values), name="run_status_known"),
            models.CheckConstraint(
                condition=Q(failure_kind="") | Q(failure_kind__in=FailureKind.values), name="run_failure_kind_known"
            ),
            models.CheckConstraint(
                condition=(Q(status="failed") & ~Q(failure_kind="")) | (~Q(status="failed") & Q(failure_kind="")),
                name="run_failure_kind_iff_failed",
            ),
            models.CheckConstraint(
                condition=(Q(status__in=FINAL) & Q(finished_at__isnull=False))
                | (Q(status__in=ACTIVE) & Q(finished_at__isnull=True)),
                name="run_finished_at_iff_final",
            ),
            models.CheckConstraint(
                condition=~Q(status="running") | (Q(attempt__gte=1) & Q(started_at__isnull=False)),
                name="run_running_has_attempt",
            ),
            models.CheckConstraint(
                condition=~Q(status="cancelled") | Q(cancel_requested_at__isnull=False),
                name="run_cancelled_was_requested",
            ),
            models.CheckConstraint(
                condition=Q(origin_kind="") | Q(origin_kind__in=Origin.values), name="run_origin_kind_known"
            ),
            # One launch per slot, as in the history. Retries and reruns have the slot of the first run.
            models.UniqueConstraint("schedule", "slot", condition=Q(origin_kind=""), name="run_one_per_slot"),
        )

    def __str__(self) -> str:
        return f"Run {self.pk} · {self.name or self.experiment}"

    def get_absolute_url(self) -> str:
        return reverse("admin:runs_run_change", args=[self.pk])

    @property
    def key(self) -> AttemptKey:
        """Key of the newest attempt."""
        return AttemptKey(self.pk, self.attempt)

    @property
    def is_cancelling(self) -> bool:
        return self.status == Status.RUNNING and self.cancel_requested_at is not None

    @property
    def badge(self) -> tuple[str, str]:
        """Style and text of the status badge."""
        if self.is_cancelling:
            return "cancelling", "Cancelling"
        return self.status, str(self.get_status_display())

    @property
    def is_final(self) -> bool:
        return Status(self.status).is_final

    def effective_limits(self) -> Limits:
        """Return the stored limits. Ignores limits that only a newer version knows."""
        return Limits.model_validate({name: self.limits[name] for name in self.limits if name in Limits.model_fields})
