"""Find runs by what people remember of them: a number, a part of a name, an experiment, a tag. Bounded.

No index answers for a text or a tag, so both are looked for among the newest runs.
"""

from __future__ import annotations

import json

from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from runs.models import Run

SEARCHED_RUNS = 200_000
"""The newest runs among which a text or a tag is looked for."""


def newest(queryset: QuerySet[Run]) -> QuerySet[Run]:
    """The runs of a queryset that belong to the newest SEARCHED_RUNS of all."""
    last = Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    return queryset.filter(pk__gt=last - SEARCHED_RUNS)


def tagged(queryset: QuerySet[Run], tag: str) -> QuerySet[Run]:
    """The runs that carry exactly this tag."""
    if connection.vendor == "postgresql":
        return newest(queryset).filter(tags__contains=[tag])
    texts = newest(queryset).annotate(tags_text=Cast("tags", TextField()))
    return texts.filter(tags_text__contains=json.dumps(tag))


def matching(queryset: QuerySet[Run], text: str) -> QuerySet[Run]:
    """The runs whose number is `text`, or whose name or experiment contains every word of it."""
    words = Q()
    for word in text.split():
        words &= Q(name__icontains=word) | Q(experiment__icontains=word)
    found = Q(pk__in=newest(queryset).filter(words).values("pk"))
    number = text.strip().removeprefix("#")
    if number.isascii() and number.isdecimal() and len(number) <= 18:
        found |= Q(pk=int(number))
    return queryset.filter(found)
