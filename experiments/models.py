"""Saved instances: configured experiments that can be launched by name."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse

from experiments.sealing import ConfigurationField, sealed


class Instance(models.Model):
    """An experiment with a saved name and configuration. A launch copies it to the run, so that edits change no run."""

    name = models.SlugField(max_length=200, unique=True, help_text="Unique; what commands and schedules call it.")
    experiment = models.CharField(max_length=200, db_index=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list, blank=True)
    configuration = ConfigurationField(default=dict, blank=True)
    limits = models.JSONField(default=dict, blank=True, help_text="Overrides of the experiment's limits.")
    queue = models.CharField(max_length=100, blank=True, help_text="Empty: the experiment's queue.")
    priority = models.SmallIntegerField(default=0, help_text="Higher numbers run first.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("name",)
        permissions = (("launch_instance", "Can launch instances"),)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("admin:experiments_instance_change", args=[self.pk])

    def clean(self) -> None:
        """Validate the name, and configuration, limits and tags by the catalog; report errors at their fields."""
        from experiments import catalog
        from experiments.exceptions import CatalogUnavailable, InvalidDefinition

        if not self.experiment:
            return  # the field reports that it is required
        try:
            checked = catalog.validate(self.experiment, self.configuration, self.limits, self.tags)
        except InvalidDefinition as error:
            raise ValidationError(error.by_field()) from error
        except CatalogUnavailable as error:
            raise ValidationError(str(error)) from error
        self.configuration = sealed(checked.configuration, checked.secrets)
        self.limits, self.tags = checked.limits, checked.tags
        if self.name != self.experiment and self.name in catalog.current().names:
            raise ValidationError({"name": "This is the name of another experiment. Choose another name."})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Validate, then save. Raises Django's ValidationError."""
        self.full_clean(validate_constraints=False, validate_unique=False)
        super().save(*args, **kwargs)
