"""The invariant of the ledger, checked: no slot twice, none without a row, each row true. Reads only.

For a schedule and a time, the slots that its timetable has are compared with the rows and the runs that there are.
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
"""So long after it was due a slot may still be on its way."""
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
    """What was looked at, and what is wrong with it."""

    slots: int = 0
    states: Counter[str] = field(default_factory=Counter)
    latest_s: float = 0.0
    """How late the latest of those slots was that were launched without waiting for a run or for a beat."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.findings


def audit(start: datetime, end: datetime, *, schedules: Iterable[Schedule] | None = None) -> Audit:
    """Check the slots from `start` to `end` of all schedules, or of those given. Slots that are not yet settled and due
    less than SLACK ago are not missed; so let the beat go on for so long before asking about the last moments."""
    result = Audit()
    for schedule in schedules if schedules is not None else Schedule.objects.order_by("pk").iterator():
        runs = list(_launched(schedule, start, end))  # before the rows: each of these has its row by then
        rows = list(Slot.objects.filter(schedule=schedule, slot__range=(start, end)).select_related("run"))
        result.slots += len(rows)
        result.states.update(row.state for row in rows)
        found = [
            *_without_row(schedule, rows, start, end),
            *(finding for row in rows for finding in _row(schedule, row)),
            *_runs(runs, rows),
        ]
        result.findings += [Finding(schedule.name, slot, text) for slot, text in found]
        result.latest_s = max([result.latest_s, *(_lateness(row) for row in rows)])
    return result


Found = tuple[datetime | None, str]


def _without_row(schedule: Schedule, rows: list[Slot], start: datetime, end: datetime) -> Iterator[Found]:
    """Slots of the timetable that nobody settled, and settled slots that the timetable does not have."""
    now = Schedule.objects.filter(pk=schedule.pk).values_list(Now(), flat=True)[0]
    begin = max(start - TICK, schedule.planned_at)
    settled = {row.slot for row in rows}
    until = min(end, max([now, *settled]))  # what is settled may lie ahead of a clock that was set back
    fires = takewhile(lambda fire: fire.slot <= until, schedule.timetable().fires(begin))
    due = {fire.slot: fire.due_at for fire in fires}
    for slot, due_at in due.items():
        if slot not in settled and due_at <= now - SLACK:
            yield slot, "it was due and has no row in the ledger"
    for row in rows:
        if row.kind in (SlotKind.TIMETABLE, SlotKind.LATE) and row.slot > begin and row.slot not in due:
            yield row.slot, f"it is in the ledger ({row.state}), but is none of the timetable's"


def _row(schedule: Schedule, row: Slot) -> Iterator[Found]:
    if row.state not in RAN and not row.reason:
        yield row.slot, f"its row says {row.state}, and not why"
    if row.run is not None and (row.run.slot != row.slot or row.run.schedule_id != schedule.pk):
        yield row.slot, f"its row names run {row.run_id}, which is of another slot"


def _launched(schedule: Schedule, start: datetime, end: datetime) -> Iterable[tuple[int, datetime]]:
    """(run, slot) of every launch. Retries and reruns are no launches of a slot."""
    runs = Run.objects.filter(schedule=schedule, slot__gte=start, slot__lte=end, origin_kind="")
    return ((run_id, slot) for run_id, slot in runs.values_list("pk", "slot") if slot is not None)


def _runs(runs: list[tuple[int, datetime]], rows: list[Slot]) -> Iterator[Found]:
    """Slots that ran twice, and runs that the ledger does not know."""
    for slot, count in Counter(slot for _, slot in runs).items():
        if count > 1:
            yield slot, f"it was launched {count} times"
    for slot, count in Counter(row.slot for row in rows).items():
        if count > 1:
            yield slot, f"it has {count} rows in the ledger"
    known = {row.run_id for row in rows}
    for run_id, slot in runs:
        if run_id not in known:
            yield slot, f"run {run_id} was launched for it, and the ledger does not know of it"


def _lateness(row: Slot) -> float:
    if row.state != SlotState.LAUNCHED or row.kind != SlotKind.TIMETABLE or row.reason:
        return 0.0
    return (row.decided_at - row.due_at).total_seconds()
