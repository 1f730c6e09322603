"""Lists of the admin that refuse what their pages do not offer."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ValidationError
from django.http import HttpRequest

SUFFIXES = frozenset({"", "exact", "isnull", "id__exact"})
"""Lookups of Django's filters for choices, booleans and relations."""


class StrictList:
    """Refuse, with status 400, lookups that no filter of the list uses, and selected rows that are no ids.

    Django allows lookups in all columns of the model. `?configuration__api_key__startswith=a` would reveal a masked
    secret letter by letter, and a regular expression may keep the database busy for hours. List it before ModelAdmin.
    """

    model: Any
    get_list_filter: Any

    def lookup_allowed(self, lookup: str, _value: Any, request: HttpRequest | None = None) -> bool:
        for item in self.get_list_filter(request):
            if isinstance(item, type) and issubclass(item, SimpleListFilter):
                if lookup == item.parameter_name:
                    return True
                continue
            field = item if isinstance(item, str) else item[0]
            if lookup == field or (lookup.startswith(f"{field}__") and lookup.removeprefix(f"{field}__") in SUFFIXES):
                return True
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None)  # type: ignore[misc]  # `?_to_field=`

    def response_action(self, request: HttpRequest, queryset: Any) -> Any:
        for value in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.model._meta.pk.to_python(value)
            except (ValidationError, ValueError) as error:
                raise BadRequest(f"{value[:60]!r} is not the id of a row.") from error
        return super().response_action(request, queryset)  # type: ignore[misc]  # of ModelAdmin
