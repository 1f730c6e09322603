"""Chosen columns of the list: values of the configuration and results, and sorting by them.

`config.optimizer.rate` is a value of the configuration, `result.accuracy` what was returned under that key, or else the
latest result or point of a metric of that key. Sorting looks at the newest SORTED runs of those that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import display
from django.db.models import Case, F, JSONField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.fields.json import KeyTransform
from django.http import HttpRequest

from experiments import catalog
from experiments.catalog import masked
from experiments.jsonvalues import unpack
from runs import formatting
from runs.comparison import flat, shown
from runs.models import Result, Run

COLUMNS_MAX = 8
SORTED = 5_000
SUGGESTED_FROM = 50
SIGNS = {"-": "↓", "": "↑"}


@dataclass(frozen=True, slots=True)
class Column:
    group: str
    """`config` or `result`."""
    key: str

    @property
    def name(self) -> str:
        return f"{self.group}.{self.key}"

    @property
    def alias(self) -> str:
        return "column_" + self.name.encode().hex()

    def value(self, run: Run) -> Any:
        """Return the value; None if the run has none. Secrets are masked."""
        if self.group == "config":
            return flat(masked(run.experiment, run.configuration)).get(self.key)
        summary = unpack(run.summary)
        returned = flat(summary).get(self.key) if isinstance(summary, dict) else None
        if returned is not None:
            return returned
        number = getattr(run, f"{self.alias}_number", None)
        return number if number is not None else getattr(run, f"{self.alias}_value", None)

    def orders(self, *, descending: bool) -> list[Any]:
        source = "configuration" if self.group == "config" else "summary"
        path: Any = F(source)
        for part in self.key.split("."):
            path = KeyTransform(part, path)
        numbers = [self._visible(path)] if self.group == "config" else [path, F(f"{self.alias}_number")]
        return [n.desc(nulls_last=True) if descending else n.asc(nulls_last=True) for n in numbers]

    def _visible(self, path: Any) -> Any:
        """Return `path`, or NULL for runs of experiments that may mask it: an order would reveal a masked value."""
        parts = self.key.split(".")
        entries = catalog.current().entries
        masking = [name for name, entry in entries.items() if catalog.may_be_masked(entry, parts)]
        visible = ~Q(experiment__in=masking)
        if catalog.may_be_masked(None, parts):
            visible &= Q(experiment__in=list(entries))
        return Case(When(visible, then=path), output_field=JSONField())


def column(name: str) -> Column | None:
    group, _, key = name.strip().partition(".")
    return Column(group, key[:200]) if group in ("config", "result") and key and "\0" not in key else None


def chosen(request: HttpRequest) -> list[Column]:
    """Parse `columns`, which may be repeated, and may hold several names separated by commas."""
    names = ",".join(request.GET.getlist("columns"))[:2000].split(",")
    columns = [column(name) for name in names]
    return list(dict.fromkeys(each for each in columns if each))[:COLUMNS_MAX]


def sort_of(request: HttpRequest) -> tuple[Column, bool] | None:
    """Parse `sort` as (column, descending)."""
    name = request.GET.get("sort", "")[:300]
    sorted_by = column(name.removeprefix("-"))
    return (sorted_by, name.startswith("-")) if sorted_by else None


def with_values(request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
    """Annotate the results of the chosen columns, and apply the chosen order."""
    sort = sort_of(request)
    if sort:
        newest = queryset.order_by("-pk").values("pk")[:SORTED]
        queryset = Run.objects.select_related("launched_by").filter(pk__in=newest)
    needed = dict.fromkeys([*chosen(request), *([sort[0]] if sort else [])])
    for each in needed:
        if each.group == "result":
            latest = Result.objects.filter(run=OuterRef("pk"), key=each.key).order_by("-attempt", "-seq")
            queryset = queryset.annotate(
                **{
                    f"{each.alias}_number": Subquery(latest.values("number")[:1]),
                    f"{each.alias}_value": Subquery(latest.values("value")[:1]),
                }
            )
    return queryset.order_by(*sort[0].orders(descending=sort[1]), "-pk") if sort else queryset


def displays(request: HttpRequest) -> list[Callable[[Run], str]]:
    """Return the columns as display functions for Django's list."""
    return [_display(each) for each in chosen(request)]


def _display(each: Column) -> Callable[[Run], str]:
    @display(description=formatting.printable(each.key))
    def cell(run: Run) -> str:
        return shown(each.value(run))[:200]

    cell.__name__ = each.alias
    return cell


@dataclass(frozen=True, slots=True)
class Choice:
    """Option of a form."""

    value: str
    label: str
    is_chosen: bool


def column_choices(request: HttpRequest) -> list[Choice]:
    """List the chosen columns, then those that the newest runs suggest."""
    now = [each.name for each in chosen(request)]
    return [Choice(name, name, name in now) for name in dict.fromkeys([*now, *suggestions(request)])]


def sort_choices(request: HttpRequest) -> list[Choice]:
    """List the order by number, then both orders of each chosen column and of the current one."""
    sort = sort_of(request)
    now = request.GET.get("sort", "") if sort else ""
    names = dict.fromkeys([*(each.name for each in chosen(request)), *([sort[0].name] if sort else [])])
    choices = [Choice("", "newest", not now)]
    for name in names:
        choices += [Choice(f"{sign}{name}", f"{name} {arrow}", now == f"{sign}{name}") for sign, arrow in SIGNS.items()]
    return choices


def suggestions(request: HttpRequest) -> list[str]:
    """List names of columns from the newest runs."""
    names: dict[str, None] = {}
    rows = Run.objects.visible_to(request.user).order_by("-pk").values_list("configuration", "summary")[:SUGGESTED_FROM]
    for configuration, summary in rows:
        names |= dict.fromkeys(f"config.{key}" for key in flat(configuration))
        names |= dict.fromkeys(f"result.{key}" for key in flat(unpack(summary) if isinstance(summary, dict) else {}))
    return sorted(filter(formatting.is_encodable, names))[:200]
