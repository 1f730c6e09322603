"""Tick: select the schedules that need processing, and settle them. Any number of ticks may run, also at once.

Steps of a tick:
1. Record the pulse. Pages warn when it is missing.
2. Select the schedules with a due slot, with a waiting slot that may be launched, or with a run that has ended.
3. Prepare their launches, outside of any transaction: this queries the catalog, where user code may run.
4. Settle them, one batch in a transaction. The schedules of a batch that fails are settled one by one.
5. After the commit, send wake-ups and cancel flags. Both are hints: reconcile and the heartbeat replace lost ones.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from experiments import catalog
from runs import wake
from runs.conf import runs_settings
from runs.exceptions import BufferUnavailable
from runs.lines.buffer import buffer
from runs.models import Pulse, Run, Schedule, Slot
from runs.schedules.apply import LOOK_AGAIN, Settled, settle
from runs.schedules.locking import lock, slots_to_record
from runs.schedules.ready import HAS_WAITING_SLOT, make_ready
from runs.schedules.rest import rest_without_schedules
from runs.states import Overlap, SlotState

logger = logging.getLogger(__name__)

PULSE = "schedules"
SCHEDULES_MAX = 10_000
"""Maximum number of schedules of one tick; the next tick takes the rest."""
DELETE_BATCH = 2_000


@dataclass(slots=True)
class TickReport:
    schedules: int = 0
    settled: Settled = field(default_factory=Settled)
    failed: dict[int, str] = field(default_factory=dict)
    """Id of a schedule → error."""
    is_cut: bool = False
    """True if the time was used up before everything was done."""


def tick(budget_s: float) -> TickReport:
    """Settle what is due now. Takes at most `budget_s` and the time of one batch.

    Raises Django's database errors if the database does not answer; then no schedule is half settled.
    """
    report = TickReport()
    until = time.monotonic() + budget_s
    if record_pulse():
        delete_old()
    keep_catalog_warm()
    todo = select()
    report.schedules = len(todo)
    if not todo:
        rest_without_schedules()
    batch = runs_settings().schedules_batch
    try:
        while todo and not report.is_cut:
            now, todo = todo[:batch], todo[batch:]
            settled = turn(now, report.failed)
            report.settled += settled
            todo += [key for key in now if key not in report.failed] if settled.has_more else []
            report.is_cut = bool(todo) and time.monotonic() >= until
    finally:
        announce(report.settled)
    return report


def keep_catalog_warm() -> None:
    """Load experiments before a slot is due, in the process that launches them."""
    if not catalog.is_in_process() and Schedule.objects.filter(paused_at=None).exists():
        catalog.current(0.0)


def select() -> list[int]:
    """Return the ids of the schedules that need processing, the most urgent first."""
    due = Schedule.objects.filter(due_at__lte=Now()).order_by("due_at", "pk").values_list("pk", flat=True)
    runs = Run.objects.filter(schedule=OuterRef("pk"), finished_at=None)
    may_launch = Schedule.objects.filter(HAS_WAITING_SLOT, Q(overlap=Overlap.ALLOW) | ~Exists(runs), paused_at=None)
    ids = [
        *due[:SCHEDULES_MAX],
        *may_launch.values_list("pk", flat=True)[:SCHEDULES_MAX],
        *slots_to_record().values_list("schedule_id", flat=True)[:SCHEDULES_MAX],
    ]
    return list(dict.fromkeys(ids))


def turn(ids: Sequence[int], failed: dict[int, str]) -> Settled:
    """Settle one batch. A schedule that cannot be settled is added to `failed`, shows the error on its page, and is
    tried again after a minute.
    """
    try:
        ready = make_ready(ids)
        with transaction.atomic():
            return settle(lock(ids, ready))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # an error of one schedule must not stop the others
        if len(ids) == 1:
            return _give_up(ids[0], error, failed)
    settled, has_more = Settled(), False
    for key in ids:
        settled += turn([key], failed)
        has_more |= settled.has_more
    settled.has_more = has_more
    return settled


def _give_up(schedule_id: int, error: Exception, failed: dict[int, str]) -> Settled:
    logger.exception("Schedule %d cannot be settled", schedule_id)
    failed[schedule_id] = f"{type(error).__name__}: {error}"
    Schedule.objects.filter(pk=schedule_id).update(
        trouble=f"Its scheduled times cannot be processed: {failed[schedule_id]}", due_at=Now() + LOOK_AGAIN
    )
    return Settled()


def announce(settled: Settled) -> None:
    """Send wake-ups and cancel flags for what is committed."""
    for queue, count in settled.queues.items():
        wake.workers(queue, count)
    for run_id in settled.cancelled:
        try:
            buffer().flag_cancel(run_id)
        except BufferUnavailable as error:
            logger.warning("The cancel of run %s takes effect with the next heartbeat: %s", run_id, error)


def record_pulse() -> bool:
    """Record the time of this tick. Returns True about once a minute."""
    before = Pulse.objects.filter(name=PULSE).annotate(now=Now()).first()
    if before is None:
        Pulse.objects.bulk_create([Pulse(name=PULSE, at=Now())], ignore_conflicts=True)
        return True
    Pulse.objects.filter(name=PULSE).update(at=Now())
    return bool(before.now.minute != before.at.minute)


def delete_old() -> int:
    """Delete rows of the history after `slots_keep_days`, in batches. Returns the number of deleted rows."""
    keep = timedelta(days=runs_settings().slots_keep_days)
    deleted = 0
    for state in set(SlotState) - {SlotState.WAITING}:
        old = Slot.objects.filter(state=state, slot__lt=Now() - keep).exclude(outcome="", run__isnull=False)
        deleted += Slot.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:DELETE_BATCH])).delete()[0]
    return deleted
