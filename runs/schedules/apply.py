"""Settle slots: decide, and enter the decisions with their runs, within one transaction of the caller's."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from runs import launch_order, transitions
from runs.conf import runs_settings
from runs.formatting import between
from runs.models import Run, Schedule, Slot
from runs.schedules.locking import Account, settled_already
from runs.schedules.policy import Decision, Due, Plan, decide
from runs.schedules.timetable import TimetableError
from runs.states import RAN, Overlap, SlotKind, SlotState, Status

logger = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=1)
"""After a timetable that cannot be read, its zone gone from the system for example."""
SCHEDULE_COLUMNS = ("cursor", "due_at", "failures", "trouble", "paused_at", "paused_why", "instance_id")


@dataclass(slots=True)
class Settled:
    """What was entered. The caller sends wake-ups and cancel flags once it is committed."""

    states: Counter[SlotState] = field(default_factory=Counter)
    queues: Counter[str] = field(default_factory=Counter)
    """New runs of each queue."""
    cancelled: list[int] = field(default_factory=list)
    has_more: bool = False
    """Some schedule has more slots due than one transaction takes."""

    def __iadd__(self, other: Settled) -> Settled:
        self.states += other.states
        self.queues += other.queues
        self.cancelled += other.cancelled
        self.has_more = other.has_more
        return self


@dataclass(slots=True)
class _Entries:
    """Rows to be written."""

    settled: Settled = field(default_factory=Settled)
    runs: list[Run] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    resolved: list[Slot] = field(default_factory=list)
    ended: list[Slot] = field(default_factory=list)

    def write(self, schedules: Sequence[Schedule]) -> None:
        Run.objects.bulk_create(self.runs)
        Slot.objects.bulk_create(self.slots)
        for slot in self.resolved:
            slot.decided_at = Now()
            slot.save(update_fields=["state", "reason", "run", "decided_at"])
        Slot.objects.bulk_update(self.ended, ["outcome", "duration_s"])
        save_schedules(schedules)


def settle(accounts: Sequence[Account]) -> Settled:
    """Settle what is due and what waits, and note how runs ended. Within the transaction that locked the accounts.

    An account that is blocked is left as it is, for a later tick.
    """
    entries = _Entries()
    accounts = [account for account in accounts if not account.is_blocked]
    dues = {account.schedule.pk: _due(account) for account in accounts}
    settled = settled_already(dues)
    for account in accounts:
        key = account.schedule.pk
        note_endings(account)
        entries.ended += account.ended
        due = [due for due in dues[key] if due.slot not in settled[key]]
        _enter(account, decide(account.facts(due, has_more=account.has_more)), entries)
    entries.settled.has_more = any(account.has_more for account in accounts)
    entries.write([account.schedule for account in accounts])
    return entries.settled


def settle_by_hand(account: Account, due: Due, *, anyway: bool) -> tuple[Settled, Slot]:
    """Settle one slot that the account's `actor` asked for, beside the timetable; returns its row.

    By the overlap policy, unless it is to be launched `anyway`.
    """
    entries = _Entries()
    facts = account.facts([due])
    if anyway:
        facts = replace(facts, policy=replace(facts.policy, overlap=Overlap.ALLOW), waiting=())
    _enter(account, decide(facts), entries)
    entries.write([account.schedule])
    return entries.settled, entries.slots[0]


def save_schedules(schedules: Sequence[Schedule]) -> None:
    """Their SCHEDULE_COLUMNS, all rows by one statement: `bulk_update` takes longer than all the rest together."""
    fields = [field for field in Schedule._meta.concrete_fields if field.attname in SCHEDULE_COLUMNS]
    assignments = ", ".join(f"{connection.ops.quote_name(str(field.column))} = %s" for field in fields)
    rows = [
        (*(field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields), row.pk)
        for row in schedules
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {Schedule._meta.db_table} SET {assignments} WHERE id = %s", rows)  # noqa: S608  # names of columns


def note_endings(account: Account) -> None:
    """How the runs of launched slots ended; a schedule whose runs fail too often in a row pauses itself."""
    schedule = account.schedule
    for slot in account.ended:
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
                schedule.paused_at = account.now
                schedule.paused_why = (
                    f"It paused itself after {schedule.failures} runs in a row had failed, the last was run {run.pk}."
                )
                logger.warning("Schedule %s: %s", schedule.name, schedule.paused_why)


def _due(account: Account) -> list[Due]:
    """The slots that are due; moves the schedule's cursor over them."""
    schedule = account.schedule
    try:
        fires, following = schedule.timetable().due(schedule.cursor, account.now, limit=runs_settings().slots_batch)
    except TimetableError as error:
        schedule.trouble, schedule.due_at = f"Its timetable cannot be read: {error}", account.now + LOOK_AGAIN
        return []
    schedule.due_at = following.due_at if following else None
    account.has_more = following is not None and following.due_at <= account.now
    if fires:
        schedule.cursor = fires[-1].slot
    return [Due(fire.slot, fire.due_at) for fire in fires]


def _enter(account: Account, plan: Plan, entries: _Entries) -> None:
    """Turn a plan into rows."""
    schedule = account.schedule
    for decision in plan.entered:
        slot = Slot(
            schedule=schedule,
            slot=decision.slot,
            due_at=decision.due_at,
            kind=decision.kind,
            by=account.by if decision.kind == SlotKind.MANUAL else "",
        )
        entries.slots.append(_decided(account, slot, decision, entries))
    waiting = {slot.slot: slot for slot in account.waiting}
    for decision in plan.resolved:
        entries.resolved.append(_decided(account, waiting[decision.slot], decision, entries))
    for run_id in plan.cancelled:
        transitions.request_cancel(run_id, by=f"schedule {schedule.name}")
    entries.settled.cancelled += plan.cancelled


def _decided(account: Account, slot: Slot, decision: Decision, entries: _Entries) -> Slot:
    """The row with its state, and its run if it has one."""
    schedule = account.schedule
    slot.state, slot.reason = decision.state, decision.reason
    entries.settled.states[decision.state] += 1
    if decision.state == SlotState.REFUSED:
        if schedule.trouble != decision.reason:
            logger.warning("Schedule %s: %s", schedule.name, decision.reason)
        schedule.trouble = decision.reason
    elif decision.state in RAN:
        schedule.trouble = ""
        slot.run = _run(account, slot)
        entries.runs.append(slot.run)
        entries.settled.queues[slot.run.queue] += 1
    return slot


def _run(account: Account, slot: Slot) -> Run:
    if account.ready is None or account.ready.order is None:
        raise RuntimeError(f"Schedule {account.schedule.name} launches although no launch was made ready.")
    return launch_order.new_run(
        account.ready.order,
        name=account.schedule.name,
        seed=launch_order.choose_seed(),
        schedule=account.schedule,
        slot=slot.slot,
        launched_by=(account.actor if slot.kind == SlotKind.MANUAL else None) or account.owner,
        launched_via="schedule",
    )
