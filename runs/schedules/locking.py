"""Lock schedules, and read what the decisions about their slots need, in a few queries for many schedules."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from runs import launch_rights
from runs.conf import runs_settings
from runs.exceptions import LaunchRefused
from runs.launch_order import Order
from runs.models import Run, Schedule, Slot
from runs.schedules.policy import Active, Due, Policy, ScheduleSnapshot
from runs.schedules.ready import Ready, basis_of
from runs.states import CatchUp, Overlap, SlotKind, SlotState

logger = logging.getLogger(__name__)

NOT_READY = "Not launched: experiments are being loaded, or the schedule was just changed. Try again in a moment."
HOLDER_IDLE_MAX = "10s"
"""PostgreSQL ends a transaction after its process is frozen for this long: it would block its schedules."""


OVERRIDES = ("configuration", "limits", "queue", "priority")
"""Columns of a schedule that override its instance."""


@dataclass(slots=True)
class LockedSchedule:
    """A schedule that is locked until the transaction ends."""

    schedule: Schedule
    now: datetime
    owner: Any = None
    waiting: list[Slot] = field(default_factory=list)
    active: list[Active] = field(default_factory=list)
    ended: list[Slot] = field(default_factory=list)
    """Launched slots with a run that has ended and is not recorded yet."""
    has_more: bool = False
    """True if more slots are due than one transaction takes."""
    ready: Ready | None = None
    """Launch that was prepared before the transaction; None if the schedule has changed since, or it is undecided."""
    actor: Any = None
    """User who requested a launch outside the timetable."""
    by: str = ""

    def snapshot(self, due: Iterable[Due] = (), *, has_more: bool = False) -> ScheduleSnapshot:
        """Collect the input of `decide`."""
        due = list(due)
        paused = self.schedule.paused_why if self.schedule.is_paused else ""
        return ScheduleSnapshot(
            policy=policy(self.schedule),
            now=self.now,
            due=due,
            has_more=has_more,
            waiting=[Due(slot.slot, slot.due_at, SlotKind(slot.kind)) for slot in self.waiting],
            active=self.active,
            paused=paused,
            refusal=self.refusal if due or self.waiting else "",
        )

    @property
    def is_blocked(self) -> bool:
        """True if it has slots to launch, but it is undecided yet whether it can launch."""
        is_due = self.schedule.due_at is not None and self.schedule.due_at <= self.now
        return bool(is_due or self.waiting) and not self.schedule.is_paused and self.ready is None

    @property
    def refusal(self) -> str:
        """Sentence that says why it cannot launch; empty if it can."""
        try:
            may_launch(self.schedule, self.owner)
            if self.ready and self.ready.order:
                check_rules(self.schedule, self.owner, self.ready.order)
        except LaunchRefused as error:
            return f"Not launched: {error}"
        return self.ready.refusal if self.ready else NOT_READY


def policy(schedule: Schedule) -> Policy:
    conf = runs_settings()
    return Policy(
        overlap=Overlap(schedule.overlap),
        catch_up=CatchUp(schedule.catch_up),
        window=timedelta(seconds=schedule.catch_up_window_s),
        late=timedelta(seconds=conf.slot_late_s),
        waiting_max=conf.slots_waiting_max,
    )


def may_launch(schedule: Schedule, owner: Any) -> None:
    """Raise LaunchRefused unless the owner may launch. A schedule without an owner, made by a command, always may."""
    if owner is None:
        if schedule.owner_name:
            raise LaunchRefused(
                f"its owner {schedule.owner_name} no longer exists; save the schedule again to become its owner"
            )
        return
    if not owner.is_active:
        raise LaunchRefused(f"its owner {owner} is no longer active; save the schedule again to become its owner")
    if owner.has_perm("runs.launch_run"):
        return
    if not (schedule.instance_name and owner.has_perm("experiments.launch_instance")):
        raise LaunchRefused(f"its owner {owner} may not launch runs")
    if own := overrides(schedule):
        text = "You may only launch instances unchanged. Leave this empty."
        raise LaunchRefused(
            f"its owner {owner} may only launch instances unchanged, but it sets {', '.join(own)}",
            dict.fromkeys(own, text),
        )


def overrides(schedule: Schedule) -> list[str]:
    """Return the columns that override the instance."""
    return [name for name in OVERRIDES if getattr(schedule, name) not in ({}, "", None)]


def check_rules(schedule: Schedule, owner: Any, order: Order) -> None:
    """Raise LaunchRefused unless the access rules let the owner launch."""
    launch_rights.check(owner, order, is_unchanged=order.instance is not None and not overrides(schedule))


def lock(ids: Collection[int], ready: Mapping[int, Ready], *, wait: bool = False) -> list[LockedSchedule]:
    """Lock and read schedules within a transaction. Schedules that are locked by others are left out unless `wait`.

    Each row is read after it is locked.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{HOLDER_IDLE_MAX}'")
    rows: QuerySet[Any] = (
        Schedule.objects.filter(pk__in=ids).select_related("instance").annotate(now=Now()).order_by("pk")
    )
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(of=("self",), no_key=True, skip_locked=not wait)
    locked_schedules = {row.pk: LockedSchedule(row, row.now, ready=_still_true(ready.get(row.pk), row)) for row in rows}
    _read_owners(locked_schedules)
    _read_runs(locked_schedules)
    return list(locked_schedules.values())


def lock_one(schedule_id: int, ready: Mapping[int, Ready]) -> LockedSchedule | None:
    """Lock one schedule, after waiting for other transactions; None if it does not exist."""
    return next(iter(lock([schedule_id], ready, wait=True)), None)


def _still_true(ready: Ready | None, schedule: Schedule) -> Ready | None:
    """Return the launch, unless its basis has changed."""
    if ready is None or ready.basis != basis_of(schedule):
        return None
    if schedule.instance is None and ready.order is not None:
        schedule.instance = ready.order.instance  # it was created again
    return ready


def _read_owners(locked_schedules: dict[int, LockedSchedule]) -> None:
    """Share one user object among the schedules of an owner, so that its permissions are read once."""
    owner_ids = {locked.schedule.owner_id for locked in locked_schedules.values()} - {None}
    owners = get_user_model()._default_manager.in_bulk(owner_ids) if owner_ids else {}
    for locked in locked_schedules.values():
        locked.owner = owners.get(locked.schedule.owner_id)


def _read_runs(locked_schedules: dict[int, LockedSchedule]) -> None:
    active = Run.objects.filter(schedule_id__in=locked_schedules, finished_at=None).order_by("pk")
    for schedule_id, run_id, slot in active.values_list("schedule_id", "pk", "slot"):
        locked_schedules[schedule_id].active.append(Active(run_id, slot))
    for row in Slot.objects.filter(schedule_id__in=locked_schedules, state=SlotState.WAITING).order_by("slot"):
        locked_schedules[row.schedule_id].waiting.append(row)
    ended = slots_to_record().filter(schedule_id__in=locked_schedules).select_related("run")
    for row in ended.order_by("run__finished_at"):
        locked_schedules[row.schedule_id].ended.append(row)


def slots_to_record() -> QuerySet[Slot]:
    """Launched slots with a run that has ended and is not recorded yet."""
    return Slot.objects.filter(outcome="", run__isnull=False, run__finished_at__isnull=False)


def settled_slots(dues: dict[int, list[Due]]) -> dict[int, set[datetime]]:
    """Return those of the due slots that have a row, by schedule. By the cursor none has; this reads the history."""
    settled: dict[int, set[datetime]] = defaultdict(set)
    ranges = [Q(schedule_id=key, slot__range=(due[0].slot, due[-1].slot)) for key, due in dues.items() if due]
    if ranges:
        for schedule_id, slot in Slot.objects.filter(reduce(or_, ranges)).values_list("schedule_id", "slot"):
            settled[schedule_id].add(slot)
    return settled
