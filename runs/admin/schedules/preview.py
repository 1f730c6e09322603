"""What the form of a schedule is told as one types. Reads only."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.forms import Field
from django.utils import timezone

from runs.admin.schedules import page
from runs.admin.schedules.forms import DatesField, MomentField, SecondsField
from runs.models import Schedule
from runs.schedules import serializers, timetable
from runs.schedules.timetable import Timetable, TimetableError, find_zone, resolved
from runs.serializers import iso
from runs.states import TimetableKind


def answer(said: dict[str, str], schedule: Schedule | None) -> dict[str, Any]:
    """Words, the next fires, what daylight saving does; or `field` and `problem`: what is wrong, and where.

    What jitter adds is known of a schedule that there is; of a new one the fires are told without it.
    """
    try:
        table = _timetable(said, schedule)
        words = timetable.words(table)
        now, zone = timezone.now(), find_zone(table.time_zone)
        told = table if schedule else replace(table, jitter_s=0)
        fires_ahead = list(islice(told.fires(now), serializers.NEXT))
        change = timetable.preview(table, now)
    except TimetableError as error:
        return {"field": error.field, "problem": str(error)}
    return {
        "words": words,
        "zone": table.time_zone,
        "next": [{"at": iso(fire.due_at), "local": page.clock(fire.due_at, zone)} for fire in fires_ahead],
        "change": f"{change.what} {change.effect}" if change else "This time zone has no daylight saving.",
        "slots": page.slots_of(change, zone),
    }


def _timetable(said: dict[str, str], schedule: Schedule | None) -> Timetable:
    """What the form says; where that is what the schedule says already, it counts on from where it has counted."""
    if schedule is None:
        return Timetable(**typed(said))
    table, stored = Timetable(**typed(said), key=str(schedule.pk)), schedule.timetable()
    return stored if replace(table, anchor=stored.anchor) == stored else table


def typed(said: dict[str, str]) -> dict[str, Any]:
    """The fields of the form, as they are being typed, as values of a `Timetable`. Raises TimetableError."""
    zone = find_zone(said.get("time_zone", ""))
    kind = said.get("kind", "")
    if kind not in TimetableKind.values:
        raise TimetableError("kind", f"Invalid kind {kind[:20]!r}. Use {', '.join(TimetableKind.values)}.")
    return {
        "kind": TimetableKind(kind),
        "cron": said.get("cron", "")[:200] if kind == TimetableKind.CRON else "",
        "every_s": _read("every_s", SecondsField(required=False), said) or 0 if kind == TimetableKind.INTERVAL else 0,
        "dates": tuple(_read("dates", DatesField(required=False), said)) if kind == TimetableKind.DATES else (),
        "time_zone": said.get("time_zone", ""),
        "anchor": timezone.now().replace(microsecond=0),
        "starts_at": _moment("starts_at", said, zone),
        "ends_at": _moment("ends_at", said, zone),
        "jitter_s": _read("jitter_s", SecondsField(required=False), said) or 0,
    }


def _read(name: str, field: Field, said: dict[str, str]) -> Any:
    """One field's value; what is wrong with it is told at it."""
    try:
        return field.to_python(said.get(name, ""))
    except ValidationError as error:
        raise TimetableError(name, " ".join(error.messages)) from error


def _moment(name: str, said: dict[str, str], zone: ZoneInfo) -> datetime | None:
    found = _read(name, MomentField(required=False), said)
    try:
        return None if found is None else resolved(found, zone)
    except TimetableError as error:
        raise TimetableError(name, str(error)) from error
