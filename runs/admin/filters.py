"""Filters of the list of runs. None of them asks the big table which values there are."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from experiments.models import Instance
from experiments.registry import registry
from runs.models import Run

CHOICES_MAX = 200


class ExperimentFilter(SimpleListFilter):
    title = "experiment"
    parameter_name = "experiment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = [(experiment.name, experiment.title) for experiment in registry().all()][:CHOICES_MAX]
        chosen = self.used_parameters.get(self.parameter_name)  # also one that is no longer there
        known = {name for name, _ in names}
        return names + ([(str(chosen), str(chosen))] if chosen and chosen not in known else [])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(experiment=self.value()) if self.value() else queryset


class InstanceFilter(SimpleListFilter):
    title = "instance"
    parameter_name = "instance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Instance.objects.values_list("pk", "name")[:CHOICES_MAX]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        value = self.value()
        return queryset.filter(instance_id=int(value)) if value and value.isdecimal() else queryset
