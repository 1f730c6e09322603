"""Schedules, and their history: one row per slot, with its state and the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from experiments.models import Instance
from experiments.sealing import ConfigurationField
from runs.models import rights
from runs.models.run import Run
from runs.schedules.timetable import Timetable, TimetableError
from runs.states import RAN, CatchUp, Overlap, SlotKind, SlotState, Status, TimetableKind

TIMING = ("kind", "cron", "every_s", "dates", "time_zone", "starts_at", "ends_at", "jitter_s")
"""Columns of the timetable. Only `runs.schedules.service` changes them, after it has recorded in the history the slots
that were due by the old timetable.
"""
JSON_TYPES: dict[str, type] = {"configuration": dict, "limits": dict, "dates": list}
WINDOW_MAX_S = 366 * 24 * 3600

_VALID: dict[str, Any] = {"time_zone": "UTC", "cron": "0 0 * * *", "every_s": 60, "ends_at": None, "jitter_s": 0}
"""Replacements for invalid fields of a timetable, so that the other fields are checked too."""


def _problems_of(timetable: Timetable) -> dict[str, str]:
    """Return the problems of a timetable by field. Its own check stops at the first one."""
    problems: dict[str, str] = {}
    while True:
        try:
            timetable.check()
        except TimetableError as error:
            if error.field in problems:
                return problems
            problems[error.field] = str(error)
            if error.field in _VALID:
                timetable = replace(timetable, **{error.field: _VALID[error.field]})
            else:
                timetable = replace(timetable, kind=TimetableKind.CRON, cron=_VALID["cron"])
        else:
            return problems


def local_zone() -> str:
    return str(settings.TIME_ZONE)


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def visible_to(self, user: Any) -> ScheduleQuerySet:
        """Schedules that the access rules let the user see, by the experiment and the queue that they name."""
        rules = rights.of(user)
        if not rules.restrict_view:
            return self.all()
        of_experiment = Q(instance=None) & rules.condition("view")
        of_instance = Q(instance__isnull=False) & (
            Q(queue="") & rules.condition("view", "instance__experiment", "instance__queue")
            | ~Q(queue="") & rules.condition("view", "instance__experiment")
        )
        return self.filter(of_experiment | of_instance)


class Schedule(models.Model):
    """Schedule: what to launch, and when. Each slot up to `cursor` has its row; `due_at` is the time of the next."""

    name = models.SlugField(max_length=200, unique=True, help_text="Letters, digits, - and _ only.")
    description = models.TextField(blank=True)

    instance = models.ForeignKey(Instance, null=True, blank=True, on_delete=models.SET_NULL, related_name="schedules")
    instance_name = models.CharField(
        max_length=200,
        blank=True,
        editable=False,
        help_text="Finds an instance that was created anew.",
    )
    experiment = models.CharField(max_length=200, blank=True, help_text="Instead of an instance.")
    configuration = ConfigurationField(default=dict, blank=True, help_text="Overrides the instance's values.")
    limits = models.JSONField(default=dict, blank=True, help_text="Overrides of the limits in force.")
    queue = models.CharField(max_length=100, blank=True, help_text="Leave empty for the default queue.")
    priority = models.SmallIntegerField(
        null=True, blank=True, help_text="Higher numbers run first. Leave empty for the priority of the instance."
    )

    kind = models.CharField(max_length=10, choices=TimetableKind, default=TimetableKind.CRON)
    cron = models.CharField(
        max_length=200, blank=True, help_text="Minute, hour, day of month, month, day of week: 30 2 * * MON-FRI"
    )
    every_s = models.PositiveIntegerField(null=True, blank=True, help_text="Seconds between two slots.")
    dates = models.JSONField(default=list, blank=True, help_text="2026-03-29 02:30, in the time zone.")
    time_zone = models.CharField(max_length=100, default=local_zone)
    starts_at = models.DateTimeField(null=True, blank=True, help_text="No slots before; intervals count from here.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="No slots after.")
    jitter_s = models.PositiveIntegerField(
        default=0, help_text="Launch up to this many seconds later; fixed for each slot."
    )

    overlap = models.CharField(max_length=10, choices=Overlap, default=Overlap.SKIP)
    catch_up = models.CharField(max_length=10, choices=CatchUp, default=CatchUp.LATEST)
    catch_up_window_s = models.PositiveIntegerField(default=3600, help_text="Seconds; older slots are missed.")
    pause_after_failures = models.PositiveSmallIntegerField(default=0, help_text="Failed runs in a row; 0 means never.")

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="User that launches the runs.",
    )
    owner_name = models.CharField(max_length=200, blank=True, editable=False)

    paused_at = models.DateTimeField(null=True, editable=False)
    paused_why = models.TextField(blank=True, editable=False, help_text="Who paused it, or why it paused itself.")
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Number of failed runs in a row.")
    trouble = models.TextField(blank=True, editable=False, help_text="Why the last launch was refused.")

    planned_at = models.DateTimeField(
        db_default=Now(), editable=False, help_text="Last change of the timetable; slots come after it."
    )
    cursor = models.DateTimeField(db_default=Now(), editable=False, help_text="Slots up to here are settled.")
    due_at = models.DateTimeField(
        null=True, editable=False, db_default=Now(), help_text="Time of the next check; empty if no slot is left."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        permissions = (
            ("pause_schedule", "Can pause and resume schedules"),
            ("trigger_schedule", "Can trigger and backfill schedules"),
        )
        indexes = (models.Index("due_at", name="schedule_due"),)
        constraints = (
            models.CheckConstraint(condition=Q(kind__in=TimetableKind.values), name="schedule_kind_known"),
            models.CheckConstraint(condition=Q(overlap__in=Overlap.values), name="schedule_overlap_known"),
            models.CheckConstraint(condition=Q(catch_up__in=CatchUp.values), name="schedule_catch_up_known"),
        )

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("admin:runs_schedule_page", args=[self.pk])

    @property
    def target_experiment(self) -> str:
        """Name of the experiment of its runs."""
        return self.instance.experiment if self.instance else self.experiment

    @property
    def target(self) -> str:
        """Name of the instance or experiment that it launches."""
        return self.instance_name or self.experiment

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    def timetable(self) -> Timetable:
        """Build the timetable from the columns, without checking it."""
        anchor = self.planned_at if isinstance(self.planned_at, datetime) else None
        return Timetable(
            kind=TimetableKind(self.kind),
            cron=self.cron,
            every_s=self.every_s or 0,
            dates=tuple(map(str, self.dates)) if isinstance(self.dates, list) else (),
            time_zone=self.time_zone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            jitter_s=self.jitter_s,
            key=str(self.pk),
            **({"anchor": anchor.replace(microsecond=0)} if anchor else {}),
        )

    def clean(self) -> None:
        """Validate its fields and its timetable. `runs.schedules` checks whether it can launch."""
        if self.instance is not None:
            self.instance_name = self.instance.name
        problems = {}
        if bool(self.instance_name) == bool(self.experiment):
            problems["experiment"] = "Choose either an instance or an experiment."
        if not 0 <= (self.catch_up_window_s or 0) <= WINDOW_MAX_S:
            problems["catch_up_window_s"] = f"Enter a window of 0s to {WINDOW_MAX_S // 86400}d, for example 10m or 6h."
        for name, kind in JSON_TYPES.items():
            if not isinstance(value := getattr(self, name), kind):
                expected = "an object" if kind is dict else "a list"
                problems[name] = f"Must be {expected}, not {json.dumps(value, default=repr)[:60]}."
        problems |= _problems_of(self.timetable())
        if problems:
            raise ValidationError(problems)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Validate and save. Raises Django's ValidationError, and RuntimeError if the timetable was changed without the
        history: use `runs.services.change_schedule`.
        """
        self.full_clean(validate_constraints=False, validate_unique=False)
        stored = Schedule.objects.filter(pk=self.pk).values(*TIMING).first() if self.pk else None
        if stored is not None and stored != {name: getattr(self, name) for name in TIMING}:
            raise RuntimeError(f"Use services.change_schedule to change the timetable of schedule {self.name}.")
        super().save(*args, **kwargs)


class Slot(models.Model):
    """Row of the history. Written in the transaction that launches its run, or decides that there is none."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="slots")
    slot = models.DateTimeField(help_text="Scheduled time.")
    due_at = models.DateTimeField(help_text="Scheduled time with jitter.")
    kind = models.CharField(max_length=10, choices=SlotKind, default=SlotKind.TIMETABLE)
    state = models.CharField(max_length=10, choices=SlotState)
    reason = models.TextField(blank=True, help_text="Why it did not run, or not as planned.")
    by = models.CharField(max_length=200, blank=True, help_text="Who requested it, if not the timetable.")
    run = models.OneToOneField(Run, null=True, on_delete=models.SET_NULL, related_name="ledger")
    decided_at = models.DateTimeField(db_default=Now(), help_text="Last change of the state.")
    outcome = models.CharField(max_length=10, blank=True, choices=Status, help_text="Final status of its run.")
    duration_s = models.FloatField(null=True, help_text="Duration of its run, from the first claim to the end.")

    class Meta:
        ordering = ("-slot",)
        indexes = (
            models.Index("schedule", "slot", name="slot_waiting", condition=Q(state="waiting")),
            models.Index("run", name="slot_open", condition=Q(outcome="", run__isnull=False)),
            models.Index("state", F("slot").desc(), name="slot_state"),
        )
        constraints = (
            models.UniqueConstraint("schedule", "slot", name="slot_once"),
            models.CheckConstraint(condition=Q(state__in=SlotState.values), name="slot_state_known"),
            models.CheckConstraint(condition=Q(kind__in=SlotKind.values), name="slot_kind_known"),
            models.CheckConstraint(condition=Q(outcome="") | Q(outcome__in=Status.values), name="slot_outcome_known"),
            models.CheckConstraint(condition=Q(run=None) | Q(state__in=RAN), name="slot_run_only_if_launched"),
            models.CheckConstraint(condition=Q(state__in=RAN) | ~Q(reason=""), name="slot_says_why"),
        )

    def __str__(self) -> str:
        return f"{self.slot:%Y-%m-%d %H:%M:%S} UTC · {self.state}"


class Pulse(models.Model):
    """Time at which a periodic task last ran, by the database's clock."""

    name = models.CharField(max_length=50, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.at}"
