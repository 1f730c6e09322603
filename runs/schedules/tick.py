"""The tick: find the schedules that something is to be done about, and settle them. Run it as often and as often at
once as you like.

One tick, step by step:
1. note the pulse: pages warn when there is none;
2. find the schedules with a slot that is due, with a slot that waits and may go, or with a run that has ended;
3. make their launches ready, outside of any transaction: that asks the catalog, where code of authors may run;
4. settle them, a batch in a transaction; a batch that fails is settled one by one, so that one harms no other;
5. after the commit, send wake-ups and cancel flags. Both are hints: reconcile and the heartbeat see to what gets lost.
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
from runs.schedules.locking import lock
from runs.schedules.ready import make_ready
from runs.states import Overlap, SlotState

logger = logging.getLogger(__name__)

PULSE = "schedules"
FOUND_MAX = 10_000
"""Most schedules of one tick; the next takes the rest."""
FORGET_BATCH = 2_000


@dataclass(slots=True)
class TickReport:
    schedules: int = 0
    settled: Settled = field(default_factory=Settled)
    failed: dict[int, str] = field(default_factory=dict)
    """Schedule → what went wrong."""
    is_cut: bool = False
    """The budget was used up before all was done."""


def tick(budget_s: float) -> TickReport:
    """Settle what is to be settled now; takes `budget_s` and one batch at most. Raises django's database errors when
    the database is away: then nothing is half done."""
    report = TickReport()
    until = time.monotonic() + budget_s
    if note_pulse():
        forget_old()
    keep_catalog_warm()
    todo = find()
    report.schedules = len(todo)
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
    """Have experiments loaded before a slot is due, in the process that launches them."""
    if not catalog.is_in_process() and Schedule.objects.filter(paused_at=None).exists():
        catalog.current(0.0)


def find() -> list[int]:
    """Ids of the schedules that something is to be done about, the most urgent first."""
    due = Schedule.objects.filter(due_at__lte=Now()).order_by("due_at", "pk").values_list("pk", flat=True)
    waits = Slot.objects.filter(schedule=OuterRef("pk"), state=SlotState.WAITING)
    runs = Run.objects.filter(schedule=OuterRef("pk"), finished_at=None)
    may_go = Schedule.objects.filter(Exists(waits), Q(overlap=Overlap.ALLOW) | ~Exists(runs), paused_at=None)
    ended = Slot.objects.filter(outcome="", run__isnull=False, run__finished_at__isnull=False)
    found = [
        *due[:FOUND_MAX],
        *may_go.values_list("pk", flat=True)[:FOUND_MAX],
        *ended.values_list("schedule_id", flat=True)[:FOUND_MAX],
    ]
    return list(dict.fromkeys(found))


def turn(ids: Sequence[int], failed: dict[int, str]) -> Settled:
    """Settle one batch. What cannot be settled is entered in `failed`, shows on its schedule's page, and is tried again
    in a minute.
    """
    try:
        ready = make_ready(ids)
        with transaction.atomic():
            return settle(lock(ids, ready))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # one schedule's trouble, whatever it is, must not stop the others
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
        trouble=f"Its slots cannot be settled: {failed[schedule_id]}", due_at=Now() + LOOK_AGAIN
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
            logger.warning("Cancel of run %s is stored, its supervisor could not be told at once: %s", run_id, error)


def note_pulse() -> bool:
    """Write down that schedules are being looked at; True about once a minute."""
    before = Pulse.objects.filter(name=PULSE).annotate(now=Now()).first()
    if before is None:
        Pulse.objects.bulk_create([Pulse(name=PULSE, at=Now())], ignore_conflicts=True)
        return True
    Pulse.objects.filter(name=PULSE).update(at=Now())
    return bool(before.now.minute != before.at.minute)


def forget_old() -> int:
    """Remove rows of the ledger that are older than is kept, a batch at a time; returns how many."""
    keep = timedelta(days=runs_settings().slots_keep_days)
    gone = 0
    for state in set(SlotState) - {SlotState.WAITING}:
        old = Slot.objects.filter(state=state, slot__lt=Now() - keep).exclude(outcome="", run__isnull=False)
        gone += Slot.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:FORGET_BATCH])).delete()[0]
    return gone
