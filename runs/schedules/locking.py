"""Schedules under lock, with all that is needed to decide about their slots: read in a few queries for many at once."""

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
from django.db.models import Q
from django.db.models.functions import Now

from runs.conf import runs_settings
from runs.exceptions import LaunchRefused
from runs.models import Run, Schedule, Slot
from runs.schedules.policy import Active, Due, Facts, Policy
from runs.schedules.ready import Ready, basis_of
from runs.states import CatchUp, Overlap, SlotKind, SlotState

logger = logging.getLogger(__name__)

NOT_READY = "It could not be launched: experiments are being loaded, or it was just changed. Try again in a moment."
HOLDER_IDLE_MAX = "10s"
"""PostgreSQL ends a transaction whose process is frozen for so long: it would keep its schedules from all others."""


@dataclass(slots=True)
class Account:
    """One schedule, ours until the transaction ends."""

    schedule: Schedule
    now: datetime
    owner: Any = None
    waiting: list[Slot] = field(default_factory=list)
    active: list[Active] = field(default_factory=list)
    ended: list[Slot] = field(default_factory=list)
    """Launched slots whose run has ended since the last look."""
    has_more: bool = False
    """More slots are due than one transaction takes."""
    ready: Ready | None = None
    """Its launch, made ready before the transaction; None: the schedule has changed since, or nobody could say."""
    actor: Any = None
    """The user who asks for a launch by hand."""
    by: str = ""

    def facts(self, due: Iterable[Due] = (), *, has_more: bool = False) -> Facts:
        """Everything that `decide` asks for."""
        due = list(due)
        paused = self.schedule.paused_why if self.schedule.is_paused else ""
        return Facts(
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
        """Whether it has something to launch, and nobody could say yet whether that can be launched."""
        is_due = self.schedule.due_at is not None and self.schedule.due_at <= self.now
        return bool(is_due or self.waiting) and not self.schedule.is_paused and self.ready is None

    @property
    def refusal(self) -> str:
        """Why nothing of it can be launched, in a sentence; empty if it can."""
        try:
            may_launch(self.schedule, self.owner)
        except LaunchRefused as error:
            return f"It could not be launched: {error}"
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
    """Raises LaunchRefused. A schedule made by command, without an owner, launches as the shell does: it may."""
    if owner is None:
        if schedule.owner_name:
            raise LaunchRefused(
                f"its owner {schedule.owner_name} is no longer there; save it again to become its owner"
            )
        return
    if not owner.is_active:
        raise LaunchRefused(f"its owner {owner} is no longer active; save it again to become its owner")
    is_instance = bool(schedule.instance_name)
    if not (owner.has_perm("runs.launch_run") or (is_instance and owner.has_perm("experiments.launch_instance"))):
        raise LaunchRefused(f"its owner {owner} may not launch runs")


def lock(ids: Collection[int], ready: Mapping[int, Ready], *, wait: bool = False) -> list[Account]:
    """The accounts of those schedules, within a transaction; those that somebody else is at are left out unless we
    `wait`. Each is read after it was locked, as it then is.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{HOLDER_IDLE_MAX}'")
    rows = Schedule.objects.filter(pk__in=ids).select_related("instance").annotate(now=Now()).order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(of=("self",), no_key=True, skip_locked=not wait)
    accounts = {row.pk: Account(row, row.now, ready=_still_true(ready.get(row.pk), row)) for row in rows}
    _read_owners(accounts)
    _read_runs(accounts)
    return list(accounts.values())


def lock_one(schedule_id: int, ready: Mapping[int, Ready]) -> Account | None:
    """Waits for its turn; None if there is no such schedule."""
    return next(iter(lock([schedule_id], ready, wait=True)), None)


def _still_true(ready: Ready | None, schedule: Schedule) -> Ready | None:
    """The launch, unless what it was made from has changed."""
    if ready is None or ready.basis != basis_of(schedule):
        return None
    if schedule.instance is None and ready.order is not None:
        schedule.instance = ready.order.instance  # it was made anew
    return ready


def _read_owners(accounts: dict[int, Account]) -> None:
    """One user for all its schedules, so that permissions are asked for once."""
    wanted = {account.schedule.owner_id for account in accounts.values()} - {None}
    owners = get_user_model()._default_manager.in_bulk(wanted) if wanted else {}
    for account in accounts.values():
        account.owner = owners.get(account.schedule.owner_id)


def _read_runs(accounts: dict[int, Account]) -> None:
    active = Run.objects.filter(schedule_id__in=accounts, finished_at=None).order_by("pk")
    for schedule_id, run_id, slot in active.values_list("schedule_id", "pk", "slot"):
        accounts[schedule_id].active.append(Active(run_id, slot))
    for row in Slot.objects.filter(schedule_id__in=accounts, state=SlotState.WAITING).order_by("slot"):
        accounts[row.schedule_id].waiting.append(row)
    ended = Slot.objects.filter(
        schedule_id__in=accounts, outcome="", run__isnull=False, run__finished_at__isnull=False
    ).select_related("run")
    for row in ended.order_by("run__finished_at"):
        accounts[row.schedule_id].ended.append(row)


def settled_already(found: dict[int, list[Due]]) -> dict[int, set[datetime]]:
    """Which of these slots have a row, by schedule. The cursor says that none has; this asks the ledger itself."""
    settled: dict[int, set[datetime]] = defaultdict(set)
    ranges = [Q(schedule_id=key, slot__range=(due[0].slot, due[-1].slot)) for key, due in found.items() if due]
    if ranges:
        for schedule_id, slot in Slot.objects.filter(reduce(or_, ranges)).values_list("schedule_id", "slot"):
            settled[schedule_id].add(slot)
    return settled
