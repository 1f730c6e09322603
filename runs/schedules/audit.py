"""Check the history: no slot twice, no slot without a row, no wrong row. Reads only.

Compares the slots of a timetable with the rows and the runs that exist, for a period of time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from django.db.models.functions import Now

from runs.models import Run, Schedule, Slot
from runs.schedules.policy import moment
from runs.states import RAN, SlotKind, SlotState

SLACK = timedelta(seconds=5)
"""A slot may be settled up to this long after it was due."""
TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Finding:
    schedule: str
    slot: datetime | None
    text: str

    def __str__(self) -> str:
        return f"{self.schedule}, {moment(self.slot) if self.slot else 'all slots'}: {self.text}"


@dataclass(slots=True)
class Audit:
    """Number of checked slots, and findings."""

    slots: int = 0
    states: Counter[str] = field(default_factory=Counter)
    latest_s: float = 0.0
    """Longest delay of a slot that was launched without waiting for a run or for the beat."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.findings


def audit(start: datetime, end: datetime, *, schedules: Iterable[Schedule] | None = None) -> Audit:
    """Check the slots from `start` to `end` of all schedules, or of the given ones.

    Unsettled slots that were due less than SLACK ago are not reported. Let the beat run for SLACK before an audit of
    the most recent slots.
    """
    result = Audit()
    for schedule in schedules if schedules is not None else Schedule.objects.order_by("pk").iterator():
        runs = list(_launched(schedule, start, end))  # before the rows: each of these has its row by then
        rows = list(Slot.objects.filter(schedule=schedule, slot__range=(start, end)).select_related("run"))
        result.slots += len(rows)
        result.states.update(row.state for row in rows)
        problems = [
            *_without_row(schedule, rows, start, end),
            *(finding for row in rows for finding in _row(schedule, row)),
            *_runs(runs, rows),
        ]
        result.findings += [Finding(schedule.name, slot, text) for slot, text in problems]
        result.latest_s = max([result.latest_s, *(_lateness(row) for row in rows)])
    return result


Problem = tuple[datetime | None, str]
"""Slot and text."""


def _without_row(schedule: Schedule, rows: list[Slot], start: datetime, end: datetime) -> Iterator[Problem]:
    """Report unsettled slots of the timetable, and settled slots that the timetable does not have."""
    now = Schedule.objects.filter(pk=schedule.pk).values_list(Now(), flat=True)[0]
    begin = max(start - TICK, schedule.planned_at)
    settled = {row.slot for row in rows}
    until = min(end, max([now, *settled]))  # settled slots may be in the future if the clock was set back
    fires = takewhile(lambda fire: fire.slot <= until, schedule.timetable().fires(begin))
    due = {fire.slot: fire.due_at for fire in fires}
    for slot, due_at in due.items():
        if slot not in settled and due_at <= now - SLACK:
            yield slot, "it was due, but has no row in the history"
    for row in rows:
        if row.kind in (SlotKind.TIMETABLE, SlotKind.LATE) and row.slot > begin and row.slot not in due:
            yield row.slot, f"it is in the history ({row.state}), but not in the timetable"


def _row(schedule: Schedule, row: Slot) -> Iterator[Problem]:
    if row.state not in RAN and not row.reason:
        yield row.slot, f"its row is {row.state} without a reason"
    if row.run is not None and (row.run.slot != row.slot or row.run.schedule_id != schedule.pk):
        yield row.slot, f"its row has run {row.run_id}, which belongs to another slot"


def _launched(schedule: Schedule, start: datetime, end: datetime) -> Iterable[tuple[int, datetime]]:
    """Yield (run, slot) of every launch. Retries and reruns are not launches of a slot."""
    runs = Run.objects.filter(schedule=schedule, slot__gte=start, slot__lte=end, origin_kind="")
    return ((run_id, slot) for run_id, slot in runs.values_list("pk", "slot") if slot is not None)


def _runs(runs: list[tuple[int, datetime]], rows: list[Slot]) -> Iterator[Problem]:
    """Report slots that ran twice, and runs without a row in the history."""
    for slot, count in Counter(slot for _, slot in runs).items():
        if count > 1:
            yield slot, f"it was launched {count} times"
    for slot, count in Counter(row.slot for row in rows).items():
        if count > 1:
            yield slot, f"it has {count} rows in the history"
    recorded = {row.run_id for row in rows}
    for run_id, slot in runs:
        if run_id not in recorded:
            yield slot, f"run {run_id} was launched for it, but is not in the history"


def _lateness(row: Slot) -> float:
    if row.state != SlotState.LAUNCHED or row.kind != SlotKind.TIMETABLE or row.reason:
        return 0.0
    return (row.decided_at - row.due_at).total_seconds()
