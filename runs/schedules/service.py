"""Verbs of schedules: create, change, pause, resume, delete, trigger, backfill. Permissions are the callers'.

Each is one transaction, and its launches are made ready before it. What a change would make uncertain (which slots of
the old timetable are done) is settled first. Wake-ups are sent after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from runs.conf import runs_settings
from runs.exceptions import LaunchRefused, ScheduleNotFound, ScheduleRefused
from runs.models import Run, Schedule, Slot
from runs.models.schedule import TIMING
from runs.schedules.apply import settle, settle_by_hand
from runs.schedules.locking import Account, lock_one, may_launch
from runs.schedules.policy import Due, moment
from runs.schedules.ready import Ready, basis_of, make_ready, prepared, ready_one
from runs.schedules.tick import announce
from runs.states import RAN, SlotKind, SlotState

logger = logging.getLogger(__name__)

TICK = timedelta(microseconds=1)


def find(name: str | int) -> Schedule:
    """By name or number. Raises ScheduleNotFound."""
    key = {"pk": int(name)} if str(name).isdecimal() and len(str(name)) < 19 else {"name": name}
    found = Schedule.objects.select_related("instance", "owner")
    schedule = found.filter(name=name).first() or found.filter(**key).first()
    if schedule is None:
        raise ScheduleNotFound(name)
    return schedule


def create(name: str, *, owner: Any = None, **values: Any) -> Schedule:
    """A new schedule; its first slot is after this moment. `values` are columns. Raises ScheduleRefused with what is
    wrong, also if it could not be launched as things are."""
    schedule = Schedule(name=name, **values, owner=owner, owner_name=_name(owner))
    with _refusals():
        schedule.full_clean()
        check(schedule)
        schedule.save()
    schedule.refresh_from_db()
    return schedule


def change(schedule_id: int, *, owner: Any = None, **values: Any) -> Schedule:
    """Change columns. Whoever changes it becomes its owner. Another timetable counts from this moment, after what was
    due by the old one is settled. Raises as `create`; then nothing is changed."""
    with _refusals():
        wanted = _assigned(find(schedule_id), values, owner)
        check(wanted)
        ready = make_ready([schedule_id])
        with transaction.atomic():
            account = _locked(schedule_id, ready)
            is_other_time = any(
                values.get(name, getattr(account.schedule, name)) != getattr(account.schedule, name) for name in TIMING
            )
            if is_other_time:
                account = _settled(account, ready)
                _refuse_if_blocked(account)
            schedule = _assigned(account.schedule, values, owner)
            if basis_of(schedule) != basis_of(wanted):
                raise ScheduleRefused(f"Schedule {schedule.name} was changed by somebody else meanwhile: look again.")
            if is_other_time:
                _begin_anew(account)
            schedule.save()
    return schedule


def _assigned(schedule: Schedule, values: Mapping[str, Any], owner: Any) -> Schedule:
    for name, value in values.items():
        setattr(schedule, name, value)
    if "instance" in values:
        schedule.instance_name = values["instance"].name if values["instance"] else ""
    schedule.owner, schedule.owner_name, schedule.trouble = owner, _name(owner), ""
    return schedule


def _begin_anew(account: Account) -> None:
    """Count another timetable from this moment."""
    schedule = account.schedule
    schedule.planned_at = schedule.cursor = max(account.now, schedule.cursor)
    schedule.due_at = account.now
    schedule.full_clean(validate_constraints=False)
    Schedule.objects.filter(pk=schedule.pk).update(**{name: getattr(schedule, name) for name in TIMING})


def _refuse_if_blocked(account: Account) -> None:
    """Slots that are due by the old timetable would be lost."""
    if account.is_blocked:
        raise ScheduleRefused(f"{account.refusal} Slots of schedule {account.schedule.name} are due.")


def check(schedule: Schedule) -> None:
    """Raises LaunchRefused if it could not be launched as things are. Not within a transaction: it asks the catalog."""
    may_launch(schedule, schedule.owner)
    prepared(schedule)


def pause(schedule_id: int, *, by: str) -> Schedule:
    """From now on its slots are entered as paused, those that wait too. May be repeated."""
    ready = make_ready([schedule_id])
    with transaction.atomic():
        account = _locked(schedule_id, ready)
        if not account.schedule.is_paused:
            account.schedule.paused_at = account.now
            account.schedule.paused_why = f"Paused by {by} on {moment(account.now)}."
            account = _settled(account, ready)
    return account.schedule


def resume(schedule_id: int, *, by: str) -> Schedule:
    """Slots from now on are launched again; those of the pause stay paused (`backfill` runs them). May be repeated."""
    ready = make_ready([schedule_id])
    with transaction.atomic():
        account = _locked(schedule_id, ready)
        if account.schedule.is_paused:
            account = _settled(account, ready)
            schedule = account.schedule
            schedule.paused_at, schedule.paused_why, schedule.failures = None, "", 0
            schedule.save(update_fields=["paused_at", "paused_why", "failures"])
            logger.debug("Schedule %s was resumed by %s", schedule.name, by)
    return account.schedule


def delete(schedule_id: int) -> None:
    """It and its ledger, once nobody is at it; its runs are kept. Raises ScheduleNotFound."""
    with transaction.atomic():
        _locked(schedule_id, {}).schedule.delete()


def trigger(schedule_id: int, *, by: str, actor: Any = None, anyway: bool = False) -> Slot:
    """A slot of its own, now, paused or not; the overlap policy holds unless it is to run `anyway`. Returns its row of
    the ledger: launched, waiting, skipped or refused."""
    launch = ready_one(find(schedule_id))
    with transaction.atomic():
        account = _locked(schedule_id, {schedule_id: launch} if launch else {})
        account.actor, account.by = actor, by
        slot = account.now
        while Slot.objects.filter(schedule=schedule_id, slot=slot).exists():
            slot += TICK
        settled, row = settle_by_hand(account, Due(slot, slot, SlotKind.MANUAL), anyway=anyway)
        transaction.on_commit(partial(announce, settled))
    return row


@dataclass(frozen=True, slots=True)
class Backfilled:
    """A slot of the asked-for time."""

    slot: datetime
    state: SlotState | None
    """What it was in the ledger; None: it had no row."""
    is_taken: bool
    """It is backfilled; else it has run already, or waits to."""


def backfill(schedule_id: int, start: datetime, end: datetime, *, by: str, dry_run: bool = False) -> list[Backfilled]:
    """Have the slots from `start` to `end` (both included, none in the future) run that have not: one after another,
    or at once if the overlap policy allows it. Of the dry run only the answer is kept. Raises ScheduleRefused."""
    if end < start:
        raise ScheduleRefused("The end is before the start: say from when to when, the earlier one first.")
    ready = make_ready([schedule_id])
    with transaction.atomic():
        account = _locked(schedule_id, ready)
        if account.schedule.is_paused:
            raise ScheduleRefused(f"Schedule {account.schedule.name} is paused: resume it, then backfill.")
        account = _settled(account, ready)
        slots = _slots_of(account, start, end)
        rows = {row.slot: row for row in Slot.objects.filter(schedule=schedule_id, slot__range=(start, end))}
        runs = Run.objects.filter(schedule=schedule_id, slot__range=(start, end), origin_kind="")
        ran = set(runs.values_list("slot", flat=True))  # also of rows that are older than the ledger is kept
        found = [_backfilled(slot, rows.get(slot), has_run=slot in ran) for slot in slots]
        _enter_backfill(account.schedule, [each for each in found if each.is_taken], rows, by)
        transaction.set_rollback(dry_run)
    return found


def _slots_of(account: Account, start: datetime, end: datetime) -> list[datetime]:
    most = runs_settings().backfill_max
    until = min(end, account.now, max(account.schedule.cursor, account.schedule.planned_at))
    slots = account.schedule.timetable().between(start - TICK, until, limit=most + 1)
    if len(slots) > most:
        raise ScheduleRefused(f"These are more than {most:,} slots, the most of one backfill; take a shorter time.")
    return slots


def _backfilled(slot: datetime, row: Slot | None, *, has_run: bool) -> Backfilled:
    state = SlotState(row.state) if row else None
    return Backfilled(slot, state, is_taken=not has_run and state not in RAN | {SlotState.WAITING})


def _enter_backfill(schedule: Schedule, taken: list[Backfilled], rows: dict[datetime, Slot], by: str) -> None:
    new: list[Slot] = []
    again: list[Slot] = []
    for each in taken:
        row = rows.get(each.slot)
        slot = row or Slot(schedule=schedule, slot=each.slot, due_at=each.slot)
        before = f" Before: {row.state}. {row.reason}" if row else ""
        slot.kind, slot.state, slot.by = SlotKind.BACKFILL, SlotState.WAITING, by
        slot.reason = f"Backfilled by {by}.{before}"
        (again if row else new).append(slot)
    Slot.objects.bulk_create(new)
    Slot.objects.bulk_update(again, ["kind", "state", "by", "reason"])


def _locked(schedule_id: int, ready: Mapping[int, Ready]) -> Account:
    account = lock_one(schedule_id, ready)
    if account is None:
        raise ScheduleNotFound(schedule_id)
    return account


def _settled(account: Account, ready: Mapping[int, Ready]) -> Account:
    """Settle whatever is due, however much it is; returns the account as it is then."""
    settled = settle([account])
    while account.has_more:
        account = _locked(account.schedule.pk, ready)
        settled += settle([account])
    transaction.on_commit(partial(announce, settled))
    return _locked(account.schedule.pk, ready)


def _name(owner: Any) -> str:
    return owner.get_username() if owner is not None else ""


@contextmanager
def _refusals() -> Iterator[None]:
    """Say in one way what is wrong."""
    try:
        yield
    except ValidationError as error:
        problems = {
            field: " ".join(messages)
            for field, messages in (
                error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
            ).items()
        }
        raise ScheduleRefused("; ".join(filter(None, problems.values())), problems) from error
    except LaunchRefused as error:
        raise ScheduleRefused(str(error), error.problems) from error
