"""Lines, results and artifacts of runs. Only `runs.lines.store` writes lines and results, in bulk and idempotently."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from runs.models.run import Run
from runs.states import AttemptKey, Level, ResultKind, Source

PLACED = models.Q(attempt__gte=1, seq__gte=1)


class LogLine(models.Model):
    """Log line. Its primary key is its address and its order, and makes storing it twice harmless."""

    pk = models.CompositePrimaryKey("run_id", "attempt", "seq")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="lines", db_index=False)
    attempt = models.PositiveIntegerField()
    seq = models.BigIntegerField()
    time = models.DateTimeField(help_text="By the clock of the child's machine.")
    level = models.PositiveSmallIntegerField(choices=Level)
    source = models.CharField(max_length=10, choices=Source)
    message = models.TextField(blank=True)
    metadata = models.JSONField(null=True)

    class Meta:
        indexes = (
            models.Index("run", "attempt", "seq", name="line_warning", condition=models.Q(level__gte=Level.WARNING)),
        )
        constraints = (
            models.CheckConstraint(condition=PLACED, name="line_place_positive"),
            models.CheckConstraint(condition=models.Q(level__in=Level.values), name="line_level_known"),
            models.CheckConstraint(condition=models.Q(source__in=Source.values), name="line_source_known"),
        )

    def __str__(self) -> str:
        return self.message

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.run_id, self.attempt)


class Result(models.Model):
    """Result (`value`) or point of a metric (`number` at `step`)."""

    pk = models.CompositePrimaryKey("run_id", "attempt", "seq")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="results", db_index=False)
    attempt = models.PositiveIntegerField()
    seq = models.BigIntegerField()
    time = models.DateTimeField()
    kind = models.CharField(max_length=10, choices=ResultKind)
    key = models.CharField(max_length=200)
    step = models.BigIntegerField(null=True)
    number = models.FloatField(null=True)
    value = models.JSONField(null=True)

    class Meta:
        indexes = (models.Index("run", "key", "attempt", "seq", name="result_key"),)
        constraints = (
            models.CheckConstraint(condition=PLACED, name="result_place_positive"),
            models.CheckConstraint(condition=models.Q(kind__in=ResultKind.values), name="result_kind_known"),
        )

    def __str__(self) -> str:
        return f"{self.key} = {self.value if self.number is None else self.number}"


class Artifact(models.Model):
    """File that is kept with a run. `path` is relative to the run's folder."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="artifacts")
    attempt = models.PositiveIntegerField()
    name = models.CharField(max_length=255)
    path = models.CharField(max_length=500)
    content_type = models.CharField(max_length=100)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("run", "attempt", "name")
        constraints = (models.UniqueConstraint("run", "attempt", "name", name="artifact_unique_name"),)

    def __str__(self) -> str:
        return self.name
