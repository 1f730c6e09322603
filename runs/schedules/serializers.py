"""JSON documents and texts about schedules. Reads only, bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypedDict

from django.db.models import Count, Max
from django.db.models.functions import Now

from experiments.catalog import masked
from runs.models import Schedule, Slot
from runs.schedules import timetable
from runs.schedules.policy import moment
from runs.schedules.timetable import Fire, TimetableError
from runs.serializers import iso
from runs.states import DID_NOT_RUN, RAN, SlotState

NEXT = 10
LAST = 100
"""Number of past slots shown."""
WEEK = timedelta(days=7)


class SlotDocument(TypedDict):
    slot: str | None
    due_at: str | None
    kind: str
    state: str
    reason: str
    by: str
    run: int | None
    outcome: str
    duration_s: float | None
    decided_at: str | None


class WeekDocument(TypedDict):
    ran: int
    failed: int
    waiting: int
    did_not_run: dict[str, int]
    """State → number of slots."""
    why: str
    """Reason of the latest slot that did not run."""


class ScheduleDocument(TypedDict):
    id: int
    name: str
    description: str
    experiment: str
    instance: str
    configuration: dict[str, Any]
    limits: dict[str, Any]
    queue: str
    priority: int | None
    words: str
    kind: str
    cron: str
    every_s: int | None
    dates: list[str]
    time_zone: str
    starts_at: str | None
    ends_at: str | None
    jitter_s: int
    overlap: str
    catch_up: str
    catch_up_window_s: int
    pause_after_failures: int
    owner: str
    paused: str
    """Reason of the pause; empty if it is not paused."""
    failures: int
    trouble: str
    next: list[str]
    week: WeekDocument


@dataclass(slots=True)
class Week:
    """States of a schedule's slots in the last seven days."""

    states: Counter[SlotState] = field(default_factory=Counter)
    failed: int = 0
    why: str = ""
    """Reason of the latest slot that did not run."""
    latest: datetime | None = None
    """Latest slot that did not run."""

    @property
    def ran(self) -> int:
        return sum(count for state, count in self.states.items() if state in RAN)

    @property
    def did_not_run(self) -> dict[SlotState, int]:
        """Count slots that did not run by state, in the order of the states."""
        return {state: self.states[state] for state in SlotState if state in DID_NOT_RUN and self.states[state]}

    def document(self) -> WeekDocument:
        return {
            "ran": self.ran,
            "failed": self.failed,
            "waiting": self.states[SlotState.WAITING],
            "did_not_run": {str(state): count for state, count in self.did_not_run.items()},
            "why": self.why,
        }


def weeks(ids: Iterable[int]) -> dict[int, Week]:
    """Read the last week of schedules, in two queries."""
    by_schedule = {key: Week() for key in ids}
    rows = Slot.objects.filter(schedule_id__in=by_schedule, slot__gt=Now() - WEEK, slot__lte=Now())
    counted = rows.values("schedule_id", "state", "outcome").annotate(count=Count("pk"), last=Max("slot")).order_by()
    for row in counted:
        week, state = by_schedule[row["schedule_id"]], SlotState(row["state"])
        week.states[state] += row["count"]
        week.failed += row["count"] if row["outcome"] == "failed" else 0
        if state in DID_NOT_RUN:
            week.latest = max(filter(None, (week.latest, row["last"])))
    latest = {week.latest for week in by_schedule.values() if week.latest}
    reasons = rows.filter(slot__in=latest, state__in=DID_NOT_RUN).values_list("schedule_id", "slot", "reason")
    for schedule_id, slot, reason in reasons:
        if by_schedule[schedule_id].latest == slot:
            by_schedule[schedule_id].why = reason
    return by_schedule


def shown_configuration(schedule: Schedule) -> dict[str, Any]:
    """Return the configuration of the schedule, without defaults, and with its secrets masked.

    Empty if the stored configuration is not an object: earlier versions accepted that.
    """
    if not isinstance(schedule.configuration, dict):
        return {}
    experiment = schedule.instance.experiment if schedule.instance else schedule.experiment
    shown: dict[str, Any] = _only(masked(experiment, schedule.configuration), schedule.configuration)
    return shown


def _only(shown: Any, stored: Any) -> Any:
    if isinstance(shown, dict) and isinstance(stored, dict):
        return {key: _only(shown[key], value) for key, value in stored.items() if key in shown}
    return shown


def words(schedule: Schedule) -> str:
    """Describe its timetable, or the error in it."""
    try:
        return timetable.words(schedule.timetable())
    except TimetableError as error:
        return str(error)


def state(schedule: Schedule) -> str:
    """Return its state as one word: its worst problem, or whether it has slots to come."""
    if schedule.is_paused:
        return "Paused"
    if schedule.trouble:
        return "Refused"
    if schedule.failures:
        return "Failing"
    return "Active" if next_fires(schedule, 1) else "Ended"


def next_fires(schedule: Schedule, count: int = NEXT) -> list[Fire]:
    """List the slots to come that are not settled yet, in order."""
    try:
        return list(islice(schedule.timetable().fires(max(schedule.cursor, schedule.planned_at)), count))
    except TimetableError:
        return []


def last_slots(schedule: Schedule, count: int = LAST) -> list[Slot]:
    """List the newest rows of its history, newest first."""
    return list(schedule.slots.select_related("run").order_by("-slot")[:count])


def slot_document(row: Slot) -> SlotDocument:
    return {
        "slot": iso(row.slot),
        "due_at": iso(row.due_at),
        "kind": row.kind,
        "state": row.state,
        "reason": row.reason,
        "by": row.by,
        "run": row.run_id,
        "outcome": row.outcome,
        "duration_s": row.duration_s,
        "decided_at": iso(row.decided_at) if isinstance(row.decided_at, datetime) else None,
    }


def schedule_document(schedule: Schedule, week: Week | None = None) -> ScheduleDocument:
    return {
        "id": schedule.pk,
        "name": schedule.name,
        "description": schedule.description,
        "experiment": schedule.experiment,
        "instance": schedule.instance_name,
        "configuration": shown_configuration(schedule),
        "limits": schedule.limits,
        "queue": schedule.queue,
        "priority": schedule.priority,
        "words": words(schedule),
        "kind": schedule.kind,
        "cron": schedule.cron,
        "every_s": schedule.every_s,
        "dates": schedule.dates,
        "time_zone": schedule.time_zone,
        "starts_at": iso(schedule.starts_at),
        "ends_at": iso(schedule.ends_at),
        "jitter_s": schedule.jitter_s,
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "catch_up_window_s": schedule.catch_up_window_s,
        "pause_after_failures": schedule.pause_after_failures,
        "owner": schedule.owner_name,
        "paused": schedule.paused_why if schedule.is_paused else "",
        "failures": schedule.failures,
        "trouble": schedule.trouble,
        "next": [fire.due_at.isoformat() for fire in next_fires(schedule)],
        "week": (week or weeks([schedule.pk])[schedule.pk]).document(),
    }


def schedule_documents(schedules: Sequence[Schedule]) -> list[ScheduleDocument]:
    by_schedule = weeks(schedule.pk for schedule in schedules)
    return [schedule_document(schedule, by_schedule[schedule.pk]) for schedule in schedules]


def row_words(row: Slot) -> str:
    """Describe the state of a slot in a sentence."""
    outcome = row.get_outcome_display() if row.outcome else ""
    state = row.get_state_display()
    parts = (state, f"run {row.run_id}" if row.run_id else "", outcome.lower())
    return f"{moment(row.slot)}: {', '.join(part for part in parts if part)}. {row.reason}".strip()
