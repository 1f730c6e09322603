"""Search for runs by number, part of a name, experiment or tag. Bounded.

No index covers texts and tags, so both are searched among the newest runs only.
"""

from __future__ import annotations

import json

from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from runs.ids import row_id
from runs.models import Run

SEARCHED_RUNS = 200_000
"""Number of newest runs that a search for a text or a tag covers."""


def newest(queryset: QuerySet[Run]) -> QuerySet[Run]:
    """Limit a queryset to the newest SEARCHED_RUNS of all runs."""
    last = Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    return queryset.filter(pk__gt=last - SEARCHED_RUNS)


def tagged(queryset: QuerySet[Run], tag: str) -> QuerySet[Run]:
    """Limit a queryset to the runs with exactly this tag."""
    if connection.vendor == "postgresql":
        return newest(queryset).filter(tags__contains=[tag])
    texts = newest(queryset).annotate(tags_text=Cast("tags", TextField()))
    return texts.filter(tags_text__contains=json.dumps(tag))


def matching(queryset: QuerySet[Run], text: str) -> QuerySet[Run]:
    """Limit a queryset to runs with the number `text`, or with every word of it in the name or experiment."""
    words = Q()
    for word in text.split():
        words &= Q(name__icontains=word) | Q(experiment__icontains=word)
    matches = Q(pk__in=newest(queryset).filter(words).values("pk"))
    if (pk := row_id(text.strip().removeprefix("#"))) is not None:
        matches |= Q(pk=pk)
    return queryset.filter(matches)
