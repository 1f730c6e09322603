"""Filters of the list of runs. None of them counts runs or reads the distinct values of a column."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date
from unfold.contrib.filters.admin import TextFilter

from experiments import catalog
from runs.ids import row_id
from runs.models import Attempt, Run, Worker, rights
from runs.run_search import tagged

CHOICES_MAX = 200


class ChoiceFilter(SimpleListFilter):
    """Filter with choices from a small table. A chosen value that no longer exists stays visible."""

    user: Any
    """User of the request."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.user = request.user
        choices = self.choices_of()[:CHOICES_MAX]
        chosen = self.used_parameters.get(self.parameter_name or "")
        return choices + (
            [(str(chosen), str(chosen))] if chosen and chosen not in {name for name, _ in choices} else []
        )

    def choices_of(self) -> list[tuple[str, str]]:
        raise NotImplementedError

    @property
    def number(self) -> int | None:
        return row_id(self.value())


class ExperimentFilter(ChoiceFilter):
    title = "experiment"
    parameter_name = "experiment"

    def choices_of(self) -> list[tuple[str, str]]:
        names = rights.of(self.user)
        return [
            (entry.name, entry.title)
            for entry in catalog.current().all()
            if names.allow("view", entry.name, entry.queue)
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(experiment=self.value()) if self.value() else queryset


class InstanceFilter(ChoiceFilter):
    title = "instance"
    parameter_name = "instance"

    def choices_of(self) -> list[tuple[str, str]]:
        return [
            (str(pk), name) for pk, name in rights.visible_instances(self.user).values_list("pk", "name")[:CHOICES_MAX]
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset if self.number is None else queryset.filter(instance_id=self.number)


class WorkerFilter(ChoiceFilter):
    title = "worker"
    parameter_name = "worker"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(str(worker.pk), str(worker)) for worker in Worker.objects.order_by("-pk")[:50]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        if self.number is None:
            return queryset
        return queryset.filter(pk__in=Attempt.objects.filter(worker_id=self.number).values("run_id"))


class LauncherFilter(ChoiceFilter):
    title = "launched by"
    parameter_name = "by"

    def choices_of(self) -> list[tuple[str, str]]:
        names = get_user_model().objects.order_by("username").values_list("pk", "username")
        return [(str(pk), name) for pk, name in names[:CHOICES_MAX]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset if self.number is None else queryset.filter(launched_by_id=self.number)


class TagFilter(TextFilter):
    title = "tag"
    parameter_name = "tag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        tag = (self.value() or "").strip()
        return tagged(queryset, tag) if tag else queryset


class DayFilter(TextFilter):
    """Filter by a day. It uses the index of `created_at`, and bounds ids: they grow with the time of creation."""

    def day(self) -> datetime | None:
        try:
            date = parse_date((self.value() or "").strip())
        except ValueError:
            return None
        return None if date is None else timezone.make_aware(datetime.combine(date, time.min))

    @staticmethod
    def first_since(moment: datetime) -> QuerySet[Run, int]:
        return Run.objects.filter(created_at__gte=moment).order_by("created_at").values_list("pk", flat=True)[:1]


class SinceFilter(DayFilter):
    title = "launched since (2026-03-01)"
    parameter_name = "since"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        day = self.day()
        return queryset if day is None else queryset.filter(created_at__gte=day, pk__gte=self.first_since(day))


class BeforeFilter(DayFilter):
    title = "launched before (2026-03-01)"
    parameter_name = "before"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        day = self.day()
        if day is None:
            return queryset
        after = list(self.first_since(day))
        return queryset.filter(created_at__lt=day, **({"pk__lt": after[0]} if after else {}))


class Remembered(SimpleListFilter):
    """Query parameter that is not a filter, but must be accepted and kept."""

    title = "-"

    def has_output(self) -> bool:
        return False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset


class ColumnsWord(Remembered):
    parameter_name = "columns"


class SortWord(Remembered):
    parameter_name = "sort"
