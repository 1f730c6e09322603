"""Create, change, pause, resume, delete, trigger and backfill schedules. Callers check permissions.

Each function is one transaction; its launches are prepared before it. Due slots of the old timetable are settled before
a change. Wake-ups are sent after the commit.
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

from experiments.forms import keeping
from experiments.sealing import sealed_like
from runs import audit, launch_rights
from runs.conf import runs_settings
from runs.exceptions import LaunchRefused, ScheduleNotFound, ScheduleRefused
from runs.ids import row_id
from runs.launch_order import Order
from runs.models import Run, Schedule, Slot
from runs.models.schedule import TIMING
from runs.schedules.apply import settle, settle_by_hand
from runs.schedules.locking import LockedSchedule, check_rules, lock_one, may_launch
from runs.schedules.policy import Due, moment
from runs.schedules.ready import Ready, basis_of, make_ready, prepared, ready_one
from runs.schedules.tick import announce
from runs.states import RAN, Act, SlotKind, SlotState

logger = logging.getLogger(__name__)

TICK = timedelta(microseconds=1)


def find(name: str | int) -> Schedule:
    """Return the schedule of this name or number. Raises ScheduleNotFound."""
    schedules = Schedule.objects.select_related("instance", "owner")
    schedule = schedules.filter(name=name).first() or schedules.filter(pk=row_id(str(name)) or 0).first()
    if schedule is None:
        raise ScheduleNotFound(name)
    return schedule


def create(name: str, *, owner: Any = None, **values: Any) -> Schedule:
    """Create a schedule; `values` are columns. Its first slot comes after this moment.

    Raises ScheduleRefused with the problems, also if it could not launch at present.
    """
    schedule = Schedule(name=name, **values, owner=owner, owner_name=_name(owner))
    with _refusals():
        schedule.full_clean()
        schedule.configuration = _stored(schedule, check(schedule))
        with transaction.atomic():
            schedule.save()
            audit.record(Act.ADD, schedule, by=owner)
    schedule.refresh_from_db()
    return schedule


def change(schedule_id: int, *, owner: Any = None, **values: Any) -> Schedule:
    """Change columns. The user who changes a schedule becomes its owner.

    A new timetable counts from this moment; due slots of the old one are settled first. Raises as `create`;
    then nothing is changed.
    """
    with _refusals():
        requested = _assigned(find(schedule_id), values, owner)
        order = check(requested)
        if "configuration" in values:
            values["configuration"] = requested.configuration = _stored(requested, order)
        ready = make_ready([schedule_id])
        with transaction.atomic():
            locked = _locked(schedule_id, ready)
            before = audit.columns(locked.schedule)
            is_other_time = any(
                values.get(name, getattr(locked.schedule, name)) != getattr(locked.schedule, name) for name in TIMING
            )
            if is_other_time:
                locked = _settled(locked, ready)
                _refuse_if_blocked(locked)
            schedule = _assigned(locked.schedule, values, owner)
            if basis_of(schedule) != basis_of(requested):
                raise ScheduleRefused(f"Schedule {schedule.name} was changed by somebody else. Reload and try again.")
            if is_other_time:
                _restart_timetable(locked)
            schedule.save()
            audit.record(Act.CHANGE, schedule, by=owner, fields=audit.changed_fields(before, audit.columns(schedule)))
    return schedule


def _stored(schedule: Schedule, order: Order) -> Any:
    """Return its configuration with marked secrets.

    A model with a secret is stored with all its values: a changed instance could send the secret elsewhere.
    """
    configuration = sealed_like(schedule.configuration, order.configuration)
    if order.instance is None:
        return configuration
    return keeping.pinned(order.experiment.form, configuration, order.configuration)


def _assigned(schedule: Schedule, values: Mapping[str, Any], owner: Any) -> Schedule:
    for name, value in values.items():
        setattr(schedule, name, value)
    if "instance" in values:
        schedule.instance_name = values["instance"].name if values["instance"] else ""
    schedule.owner, schedule.owner_name, schedule.trouble = owner, _name(owner), ""
    return schedule


def _restart_timetable(locked: LockedSchedule) -> None:
    """Start a new timetable from this moment."""
    schedule = locked.schedule
    schedule.planned_at = schedule.cursor = max(locked.now, schedule.cursor)
    schedule.due_at = locked.now
    schedule.full_clean(validate_constraints=False)
    Schedule.objects.filter(pk=schedule.pk).update(**{name: getattr(schedule, name) for name in TIMING})


def _refuse_if_blocked(locked: LockedSchedule) -> None:
    """Refuse a change that would lose due slots of the old timetable."""
    if locked.is_blocked:
        raise ScheduleRefused(f"{locked.refusal} Scheduled times of schedule {locked.schedule.name} are due.")


def check(schedule: Schedule) -> Order:
    """Return the order that it would launch at present. Raises LaunchRefused.

    Not within a transaction: this queries the catalog.
    """
    may_launch(schedule, schedule.owner)
    order = prepared(schedule)
    check_rules(schedule, schedule.owner, order)
    return order


def pause(schedule_id: int, *, by: str) -> Schedule:
    """Pause a schedule: its slots, also waiting ones, are recorded as paused. May be repeated."""
    ready = make_ready([schedule_id])
    with transaction.atomic():
        locked = _locked(schedule_id, ready)
        if not locked.schedule.is_paused:
            locked.schedule.paused_at = locked.now
            locked.schedule.paused_why = f"Paused by {by} on {moment(locked.now)}."
            audit.record(Act.PAUSE, locked.schedule, by=audit.actor().called(by))
            locked = _settled(locked, ready)
    return locked.schedule


def resume(schedule_id: int, *, by: str) -> Schedule:
    """Resume a schedule. Slots of the pause stay paused; `backfill` runs them. May be repeated."""
    ready = make_ready([schedule_id])
    with transaction.atomic():
        locked = _locked(schedule_id, ready)
        if locked.schedule.is_paused:
            locked = _settled(locked, ready)
            schedule = locked.schedule
            schedule.paused_at, schedule.paused_why, schedule.failures = None, "", 0
            schedule.save(update_fields=["paused_at", "paused_why", "failures"])
            audit.record(Act.RESUME, schedule, by=audit.actor().called(by))
    return locked.schedule


def delete(schedule_id: int) -> None:
    """Delete a schedule and its history, and keep its runs. Raises ScheduleNotFound."""
    with transaction.atomic():
        schedule = _locked(schedule_id, {}).schedule
        audit.record(Act.DELETE, schedule)
        schedule.delete()


def trigger(schedule_id: int, *, by: str, actor: Any = None, anyway: bool = False) -> Slot:
    """Add a slot outside the timetable, now, even if the schedule is paused. `anyway` ignores the overlap policy.

    Returns its row: launched, waiting, skipped or refused. Raises ScheduleRefused if the access rules do not let
    `actor` launch it, in whose name it runs.
    """
    launch = ready_one(find(schedule_id))
    if launch is not None and launch.order is not None:
        with _refusals():
            launch_rights.check(actor, launch.order, is_unchanged=True)
    with transaction.atomic():
        locked = _locked(schedule_id, {schedule_id: launch} if launch else {})
        locked.actor, locked.by = actor, by
        slot = locked.now
        while Slot.objects.filter(schedule=schedule_id, slot=slot).exists():
            slot += TICK
        settled, row = settle_by_hand(locked, Due(slot, slot, SlotKind.MANUAL), anyway=anyway)
        actor = audit.actor().called(by)
        audit.record(Act.TRIGGER, locked.schedule, by=actor, state=row.state, run=row.run_id, anyway=anyway or None)
        transaction.on_commit(partial(announce, settled))
    return row


@dataclass(frozen=True, slots=True)
class Backfilled:
    """Slot of the requested period."""

    slot: datetime
    state: SlotState | None
    """Previous state in the history; None if it had no row."""
    is_taken: bool
    """True if it is backfilled; False if it has run or is waiting."""


def backfill(schedule_id: int, start: datetime, end: datetime, *, by: str, dry_run: bool = False) -> list[Backfilled]:
    """Run the slots from `start` to `end` (inclusive, none in the future) that have not run.

    They run one after another, or at once if the overlap policy allows it. A dry run changes nothing. Raises
    ScheduleRefused.
    """
    if end < start:
        raise ScheduleRefused("The end is before the start. Enter the earlier time first.")
    ready = make_ready([schedule_id])
    with transaction.atomic():
        locked = _locked(schedule_id, ready)
        if locked.schedule.is_paused:
            raise ScheduleRefused(f"Schedule {locked.schedule.name} is paused. Resume it before you backfill it.")
        locked = _settled(locked, ready)
        slots = _slots_of(locked, start, end)
        rows = {row.slot: row for row in Slot.objects.filter(schedule=schedule_id, slot__range=(start, end))}
        runs = Run.objects.filter(schedule=schedule_id, slot__range=(start, end), origin_kind="")
        ran = set(runs.values_list("slot", flat=True))  # also of slots with rows that were deleted from the history
        backfilled = [_backfilled(slot, rows.get(slot), has_run=slot in ran) for slot in slots]
        taken = [each for each in backfilled if each.is_taken]
        _enter_backfill(locked.schedule, taken, rows, by)
        period = {"start": start.isoformat(), "end": end.isoformat()}
        audit.record(Act.BACKFILL, locked.schedule, count=len(taken), by=audit.actor().called(by), **period)
        transaction.set_rollback(dry_run)
    return backfilled


def _slots_of(locked: LockedSchedule, start: datetime, end: datetime) -> list[datetime]:
    most = runs_settings().backfill_max
    until = min(end, locked.now, max(locked.schedule.cursor, locked.schedule.planned_at))
    slots = locked.schedule.timetable().between(start - TICK, until, limit=most + 1)
    if len(slots) > most:
        raise ScheduleRefused(f"More than {most:,} scheduled times, the limit of a backfill. Choose a shorter period.")
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
        before = f" Previously {row.state}. {row.reason}" if row else ""
        slot.kind, slot.state, slot.by = SlotKind.BACKFILL, SlotState.WAITING, by
        slot.reason = f"Backfilled by {by}.{before}"
        (again if row else new).append(slot)
    Slot.objects.bulk_create(new)
    Slot.objects.bulk_update(again, ["kind", "state", "by", "reason"])


def _locked(schedule_id: int, ready: Mapping[int, Ready]) -> LockedSchedule:
    locked = lock_one(schedule_id, ready)
    if locked is None:
        raise ScheduleNotFound(schedule_id)
    return locked


def _settled(locked: LockedSchedule, ready: Mapping[int, Ready]) -> LockedSchedule:
    """Settle everything that is due. Returns the schedule as it is afterwards."""
    settled = settle([locked])
    while locked.has_more:
        locked = _locked(locked.schedule.pk, ready)
        settled += settle([locked])
    transaction.on_commit(partial(announce, settled))
    return _locked(locked.schedule.pk, ready)


def _name(owner: Any) -> str:
    return owner.get_username() if owner is not None else ""


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn validation errors and refused launches into ScheduleRefused."""
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
