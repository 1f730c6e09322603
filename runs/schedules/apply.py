"""Settle slots: decide, and write the decisions with their runs, within the caller's transaction."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from runs import audit, launch_order, transitions
from runs.audit import Actor
from runs.conf import runs_settings
from runs.formatting import between
from runs.models import AuditEntry, Run, Schedule, Slot
from runs.schedules.locking import LockedSchedule, settled_slots
from runs.schedules.policy import Decision, Due, Plan, decide
from runs.schedules.timetable import TimetableError
from runs.states import RAN, Act, Door, Overlap, SlotKind, SlotState, Status

logger = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=1)
"""Pause after a timetable that cannot be read, for example because its zone was removed from the system."""
SCHEDULE_COLUMNS = ("cursor", "due_at", "failures", "trouble", "paused_at", "paused_why", "instance_id")


@dataclass(slots=True)
class Settled:
    """Result of settling. The caller sends wake-ups and cancel flags after the commit."""

    states: Counter[SlotState] = field(default_factory=Counter)
    queues: Counter[str] = field(default_factory=Counter)
    """Queue → number of new runs."""
    cancelled: list[int] = field(default_factory=list)
    has_more: bool = False
    """True if a schedule has more due slots than one transaction takes."""

    def __iadd__(self, other: Settled) -> Settled:
        self.states += other.states
        self.queues += other.queues
        self.cancelled += other.cancelled
        self.has_more = other.has_more
        return self


@dataclass(slots=True)
class _Entries:
    """Rows to write."""

    settled: Settled = field(default_factory=Settled)
    runs: list[Run] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    resolved: list[Slot] = field(default_factory=list)
    ended: list[Slot] = field(default_factory=list)

    def write(self, schedules: Sequence[Schedule]) -> None:
        Run.objects.bulk_create(self.runs)
        audit.record_many(_launched(run) for run in self.runs)
        Slot.objects.bulk_create(self.slots)
        for slot in self.resolved:
            slot.decided_at = Now()
            slot.save(update_fields=["state", "reason", "run", "decided_at"])
        Slot.objects.bulk_update(self.ended, ["outcome", "duration_s"])
        save_schedules(schedules)


def settle(locked_schedules: Sequence[LockedSchedule]) -> Settled:
    """Settle due and waiting slots, and record how runs ended. Within the transaction that locked the schedules.

    A schedule that is blocked is left unchanged, for a later tick.
    """
    entries = _Entries()
    locked_schedules = [locked for locked in locked_schedules if not locked.is_blocked]
    dues = {locked.schedule.pk: _due(locked) for locked in locked_schedules}
    settled = settled_slots(dues)
    for locked in locked_schedules:
        key = locked.schedule.pk
        record_ends(locked)
        entries.ended += locked.ended
        due = [due for due in dues[key] if due.slot not in settled[key]]
        _enter(locked, decide(locked.snapshot(due, has_more=locked.has_more)), entries)
    entries.settled.has_more = any(locked.has_more for locked in locked_schedules)
    entries.write([locked.schedule for locked in locked_schedules])
    return entries.settled


def settle_by_hand(locked: LockedSchedule, due: Due, *, anyway: bool) -> tuple[Settled, Slot]:
    """Settle one slot outside the timetable, requested by `actor`. Returns its row.

    `anyway` ignores the overlap policy.
    """
    entries = _Entries()
    snapshot = locked.snapshot([due])
    if anyway:
        snapshot = replace(snapshot, policy=replace(snapshot.policy, overlap=Overlap.ALLOW), waiting=())
    _enter(locked, decide(snapshot), entries)
    entries.write([locked.schedule])
    return entries.settled, entries.slots[0]


def save_schedules(schedules: Sequence[Schedule]) -> None:
    """Save SCHEDULE_COLUMNS of all rows with one statement: `bulk_update` takes longer than everything else."""
    fields = [field for field in Schedule._meta.concrete_fields if field.attname in SCHEDULE_COLUMNS]
    assignments = ", ".join(f"{connection.ops.quote_name(str(field.column))} = %s" for field in fields)
    rows = [
        (*(field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields), row.pk)
        for row in schedules
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {Schedule._meta.db_table} SET {assignments} WHERE id = %s", rows)  # noqa: S608  # names of columns


def record_ends(locked: LockedSchedule) -> None:
    """Record how the runs of launched slots ended, and pause a schedule after too many failed runs in a row."""
    schedule = locked.schedule
    for slot in locked.ended:
        run = slot.run
        if run is None:
            continue
        slot.outcome = run.status
        slot.duration_s = between(run.started_at, run.finished_at)
        if run.status == Status.COMPLETED:
            schedule.failures = 0
        elif run.status == Status.FAILED:
            schedule.failures += 1
            if 0 < schedule.pause_after_failures <= schedule.failures and not schedule.is_paused:
                schedule.paused_at = locked.now
                schedule.paused_why = (
                    f"Paused itself after {schedule.failures} failed runs in a row, the last of them run {run.pk}."
                )
                logger.warning("Schedule %s: %s", schedule.name, schedule.paused_why)
                audit.record(Act.PAUSE, schedule, by=_actor(schedule), failures=schedule.failures)


def _due(locked: LockedSchedule) -> list[Due]:
    """Return the due slots, and advance the schedule's cursor past them."""
    schedule = locked.schedule
    try:
        fires, following = schedule.timetable().due(schedule.cursor, locked.now, limit=runs_settings().slots_batch)
    except TimetableError as error:
        schedule.trouble, schedule.due_at = f"Invalid timetable: {error}", locked.now + LOOK_AGAIN
        return []
    schedule.due_at = following.due_at if following else None
    locked.has_more = following is not None and following.due_at <= locked.now
    if fires:
        schedule.cursor = fires[-1].slot
    return [Due(fire.slot, fire.due_at) for fire in fires]


def _enter(locked: LockedSchedule, plan: Plan, entries: _Entries) -> None:
    """Turn a plan into rows."""
    schedule = locked.schedule
    for decision in plan.entered:
        slot = Slot(
            schedule=schedule,
            slot=decision.slot,
            due_at=decision.due_at,
            kind=decision.kind,
            by=locked.by if decision.kind == SlotKind.MANUAL else "",
        )
        entries.slots.append(_decided(locked, slot, decision, entries))
    waiting = {slot.slot: slot for slot in locked.waiting}
    for decision in plan.resolved:
        entries.resolved.append(_decided(locked, waiting[decision.slot], decision, entries))
    for run_id in plan.cancelled:
        transitions.request_cancel(run_id, by=f"schedule {schedule.name}")
        audit.record(Act.CANCEL, kind="run", key=run_id, by=_actor(schedule))
    entries.settled.cancelled += plan.cancelled


def _decided(locked: LockedSchedule, slot: Slot, decision: Decision, entries: _Entries) -> Slot:
    """Set the state of a row, and create its run if it has one."""
    schedule = locked.schedule
    slot.state, slot.reason = decision.state, decision.reason
    entries.settled.states[decision.state] += 1
    if decision.state == SlotState.REFUSED:
        if schedule.trouble != decision.reason:
            logger.warning("Schedule %s: %s", schedule.name, decision.reason)
        schedule.trouble = decision.reason
    elif decision.state in RAN:
        schedule.trouble = ""
        slot.run = _run(locked, slot)
        entries.runs.append(slot.run)
        entries.settled.queues[slot.run.queue] += 1
    return slot


def _run(locked: LockedSchedule, slot: Slot) -> Run:
    if locked.ready is None or locked.ready.order is None:
        raise RuntimeError(f"Schedule {locked.schedule.name} launches, but no launch was prepared.")
    return launch_order.new_run(
        locked.ready.order,
        name=locked.schedule.name,
        seed=launch_order.choose_seed(),
        schedule=locked.schedule,
        slot=slot.slot,
        launched_by=(locked.actor if slot.kind == SlotKind.MANUAL else None) or locked.owner,
        launched_via="schedule",
    )


def _launched(run: Run) -> AuditEntry:
    schedule = run.schedule
    user, name = run.launched_by, schedule.name if schedule else ""
    actor = Actor(Door.SCHEDULE, user.get_username() if user else "", user.pk if user else None)
    return audit.entry(Act.LAUNCH, run, by=actor, schedule=name)


def _actor(schedule: Schedule) -> Actor:
    return Actor(Door.SCHEDULE, f"schedule {schedule.name}")
