"""Audit log: one row for each act of a user, a command, a program or a schedule."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.db.models.functions import Now


class AuditEntry(models.Model):
    """Row of the audit log. Rows are never changed; `runs.audit` adds them, and removes old ones."""

    at = models.DateTimeField("time", db_default=Now(), editable=False)
    who = models.CharField(max_length=200, blank=True, help_text="Name of the user, or of the Unix user.")
    user_pk = models.BigIntegerField(null=True, blank=True, help_text="Primary key of the user.")
    address = models.CharField(max_length=45, blank=True, help_text="Address of the client.")
    door = models.CharField(max_length=10, help_text="admin, command, python or schedule.")
    act = models.CharField(max_length=20)
    kind = models.CharField("kind of object", max_length=40, blank=True, help_text="run, instance, schedule, user …")
    key = models.CharField("object", max_length=40, blank=True, help_text="Primary key of the object.")
    name = models.CharField(max_length=200, blank=True, help_text="Name of the object at that time.")
    count = models.PositiveIntegerField(default=1, help_text="Number of objects of this act.")
    details = models.JSONField(default=dict, blank=True, help_text="Names of changed fields, never their values.")

    class Meta:
        ordering = ("-id",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = (
            models.Index("kind", "key", name="audit_object"),
            models.Index("at", name="audit_at"),
        )

    def __str__(self) -> str:
        return f"{self.who or 'unknown'}: {self.act} {self.kind} {self.name or self.key}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row. Raises TypeError if it is stored already."""
        if self.pk is not None:
            self._refuse()
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(f"Entry {self.pk} of the audit log cannot be changed or deleted.")
