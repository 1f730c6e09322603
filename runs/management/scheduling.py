"""Shared by the schedule commands: options, times that people type, output."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model

from runs import formatting, parsing
from runs.management.base import WrongUse
from runs.models import Schedule, Slot
from runs.schedules import serializers
from runs.schedules.timetable import TimetableError, find_zone, resolved
from runs.states import CatchUp, Overlap, SlotState, TimetableKind

NONE = "none"


def moment(text: str) -> datetime:
    """Parse `2026-03-29` or `2026-03-29 02:30`, with or without an offset. Without one the result is naive."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ArgumentTypeError(
            f"Invalid time {text!r}. Use 2026-03-29, 2026-03-29T02:30 or 2026-03-29T02:30+02:00."
        ) from error


def moment_or_none(text: str) -> datetime | str:
    """Parse as `moment`, or `none`, which removes a time."""
    return NONE if text.strip().lower() == NONE else moment(text)


def aware(when: datetime, zone: str) -> datetime:
    """Convert to UTC. A time without an offset is in `zone`."""
    try:
        return resolved(when, find_zone(zone))
    except TimetableError as error:
        raise WrongUse(str(error)) from error


def add_timetable(parser: ArgumentParser) -> None:
    when = parser.add_argument_group("when (one of the first three)")
    which = when.add_mutually_exclusive_group()
    which.add_argument("--cron", metavar="EXPR", help="five fields in quotes: minute, hour, day, month, day of week")
    which.add_argument("--every", metavar="TIME", type=parsing.whole_seconds, help="interval: 30s, 10m, 6h")
    which.add_argument("--at", metavar="DATE", type=moment, action="append", help="2026-03-29T02:30; may be repeated")
    when.add_argument("--zone", metavar="ZONE", help="time zone, e.g. Europe/Berlin; default: the site's")
    for option, what in (
        ("--start", "first possible time; intervals count from here"),
        ("--end", "last possible time"),
    ):
        when.add_argument(option, metavar="DATE", type=moment_or_none, help=f"{what}; `none` removes it")
    when.add_argument(
        "--jitter", metavar="TIME", type=parsing.whole_seconds, help="random delay of at most this long: 5m"
    )


def add_policies(parser: ArgumentParser) -> None:
    how = parser.add_argument_group("how")
    how.add_argument("--overlap", choices=Overlap.values, help="when the previous run is still active; default: skip")
    how.add_argument(
        "--catch-up", choices=CatchUp.values, help="which missed times to run after a downtime; default: latest"
    )
    how.add_argument(
        "--catch-up-window", metavar="TIME", type=parsing.whole_seconds, help="times older than this stay missed: 1h"
    )
    how.add_argument("--pause-after", metavar="N", type=int, help="pause the schedule after N failures in a row")
    how.add_argument("--queue", help="queue of the workers that may run it")
    how.add_argument("--priority", type=int, help="higher numbers run first")
    how.add_argument("--owner", metavar="USER", help="user that launches the runs; needs the permission to launch")
    how.add_argument("--description", help="what it is for")


def columns(options: dict[str, Any], zone: str) -> dict[str, Any]:
    """Collect the columns of a schedule that were given as options."""
    given = {
        "description": options["description"],
        "time_zone": options["zone"],
        "jitter_s": options["jitter"],
        "overlap": options["overlap"],
        "catch_up": options["catch_up"],
        "catch_up_window_s": options["catch_up_window"],
        "pause_after_failures": options["pause_after"],
        "queue": options["queue"],
        "priority": options["priority"],
    }
    bounds = {name: options[option] for name, option in (("starts_at", "start"), ("ends_at", "end")) if options[option]}
    return (
        {name: value for name, value in given.items() if value is not None}
        | {name: None if value == NONE else aware(value, zone) for name, value in bounds.items()}
        | _timetable(options)
    )


def _timetable(options: dict[str, Any]) -> dict[str, Any]:
    if options["cron"]:
        return {"kind": TimetableKind.CRON, "cron": options["cron"], "every_s": None, "dates": []}
    if options["every"] is not None:
        return {"kind": TimetableKind.INTERVAL, "cron": "", "every_s": options["every"], "dates": []}
    if options["at"]:
        dates = [date.isoformat(sep=" ") for date in options["at"]]
        return {"kind": TimetableKind.DATES, "cron": "", "every_s": None, "dates": dates}
    return {}


def owner_of(options: dict[str, Any]) -> Any:
    if not options["owner"]:
        return None
    user = get_user_model()._default_manager.filter(username=options["owner"]).first()
    if user is None:
        raise WrongUse(f"There is no user named {options['owner']}.")
    return user


def screen(schedule: Schedule, now: datetime, *, slots: int = 0) -> Iterator[str]:
    """Format a schedule as lines of text."""
    state = f"paused: {schedule.paused_why}" if schedule.is_paused else ""
    yield f"Schedule {schedule.name} · {serializers.words(schedule)}{' · ' + state if state else ''}"
    kind = "instance" if schedule.instance_name else "experiment"
    yield f"  launches       {kind} {schedule.target}, owned by {schedule.owner_name or 'the shell'}"
    yield f"  overlap        {schedule.get_overlap_display()}"
    window = formatting.duration(schedule.catch_up_window_s)
    yield f"  catch-up       {schedule.get_catch_up_display()}; window {window}"
    yield from (f"  {name:<14} {value}" for name, value in _facts(schedule))
    if schedule.trouble:
        yield f"  trouble        {schedule.trouble}"
    yield f"  last week      {week_words(serializers.weeks([schedule.pk])[schedule.pk])}"
    zone, fires = find_zone(schedule.time_zone), serializers.next_fires(schedule)
    for fire in fires:
        local = fire.due_at.astimezone(zone)
        yield f"  next           {local:%a %Y-%m-%d %H:%M:%S %Z} ({formatting.age(fire.due_at, now)})"
    if not fires:
        yield "  next           none: all scheduled times have passed"
    for row in serializers.last_slots(schedule, slots):
        yield f"  {row_line(row)}"


def _facts(schedule: Schedule) -> Iterator[tuple[str, str]]:
    """Yield the optional settings that are set."""
    zone = find_zone(schedule.time_zone)
    configuration = serializers.shown_configuration(schedule)
    settings = {
        "about": schedule.description,
        "starts": f"{schedule.starts_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}" if schedule.starts_at else "",
        "ends": f"{schedule.ends_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}" if schedule.ends_at else "",
        "pauses after": f"{schedule.pause_after_failures} failures in a row" if schedule.pause_after_failures else "",
        "queue": schedule.queue,
        "priority": "" if schedule.priority is None else str(schedule.priority),
        "limits": json.dumps(schedule.limits) if schedule.limits else "",
        "configuration": json.dumps(configuration, ensure_ascii=False) if configuration else "",
    }
    return ((name, formatting.printable(value)) for name, value in settings.items() if value)


def row_line(row: Slot) -> str:
    return formatting.printable(serializers.row_words(row))


def week_words(week: serializers.Week) -> str:
    """`168 ran, 2 of them failed; 3 skipped, 1 missed: Run 12 was still active.`"""
    ran = f"{week.ran:,} ran" + (f", {week.failed:,} of them failed" if week.failed else "")
    ran += f", {waiting:,} waiting" if (waiting := week.states[SlotState.WAITING]) else ""
    other = ", ".join(f"{count:,} {state.label.lower()}" for state, count in week.did_not_run.items())
    return f"{ran}; {other}: {week.why}" if other else ran
