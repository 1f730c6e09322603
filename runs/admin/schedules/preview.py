"""Preview of a timetable for the open form of a schedule. Reads only."""

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


def answer(fields: dict[str, str], schedule: Schedule | None) -> dict[str, Any]:
    """Return the description, the next fires and the effect of daylight saving; or a `field` and its `problem`.

    Jitter depends on the id of the schedule, so the fires of a new schedule are without it.
    """
    try:
        table = _timetable(fields, schedule)
        words = timetable.words(table)
        now, zone = timezone.now(), find_zone(table.time_zone)
        previewed = table if schedule else replace(table, jitter_s=0)
        fires_ahead = list(islice(previewed.fires(now), serializers.NEXT))
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


def _timetable(fields: dict[str, str], schedule: Schedule | None) -> Timetable:
    """Return the timetable of the form. An unchanged one keeps the anchor of the schedule."""
    if schedule is None:
        return Timetable(**typed(fields))
    table, stored = Timetable(**typed(fields), key=str(schedule.pk)), schedule.timetable()
    return stored if replace(table, anchor=stored.anchor) == stored else table


def typed(fields: dict[str, str]) -> dict[str, Any]:
    """Parse the fields of the form into values of a `Timetable`. Raises TimetableError."""
    zone = find_zone(fields.get("time_zone", ""))
    kind = fields.get("kind", "")
    if kind not in TimetableKind.values:
        raise TimetableError("kind", f"Invalid kind {kind[:20]!r}. Use {', '.join(TimetableKind.values)}.")
    return {
        "kind": TimetableKind(kind),
        "cron": fields.get("cron", "")[:200] if kind == TimetableKind.CRON else "",
        "every_s": _read("every_s", SecondsField(required=False), fields) or 0 if kind == TimetableKind.INTERVAL else 0,
        "dates": tuple(_read("dates", DatesField(required=False), fields)) if kind == TimetableKind.DATES else (),
        "time_zone": fields.get("time_zone", ""),
        "anchor": timezone.now().replace(microsecond=0),
        "starts_at": _moment("starts_at", fields, zone),
        "ends_at": _moment("ends_at", fields, zone),
        "jitter_s": _read("jitter_s", SecondsField(required=False), fields) or 0,
    }


def _read(name: str, field: Field, fields: dict[str, str]) -> Any:
    """Parse one field. Raises TimetableError with its name."""
    try:
        return field.to_python(fields.get(name, ""))
    except ValidationError as error:
        raise TimetableError(name, " ".join(error.messages)) from error


def _moment(name: str, fields: dict[str, str], zone: ZoneInfo) -> datetime | None:
    entered = _read(name, MomentField(required=False), fields)
    try:
        return None if entered is None else resolved(entered, zone)
    except TimetableError as error:
        raise TimetableError(name, str(error)) from error
