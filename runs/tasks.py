"""Celery's way in: tasks of a few lines around functions that know nothing of Celery."""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from django.db import DatabaseError, InterfaceError, connections

from runs import wake
from runs.transitions import EndResult

logger = logging.getLogger(__name__)


@shared_task(
    name=wake.EXECUTE,
    bind=True,
    ignore_result=False,
    track_started=False,
    Request="runs.worker.slot_wakeup:WakingRequest",
)
def execute(self: Any, *_: Any, **__: Any) -> dict[str, Any]:
    """A wake-up: claim the next due run of the message's queue and see it through. Which run, the claim decides.

    Whatever a message of an older or newer version carries besides is passed over.
    """
    from runs.supervisor.supervise import supervise_next
    from runs.worker.runtime import runtime  # only a worker of runs needs the supervisor

    queue = self.request.delivery_info["routing_key"]
    try:
        supervised = supervise_next(runtime().services(), [queue], self.request.id)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("A wake-up came while the database is away: %s", str(error).strip())
        raise Ignore from error
    if supervised is None:
        logger.info("A wake-up found no due run in queue %s: a doubled message, or somebody was faster", queue)
        raise Ignore
    if supervised["then"] == EndResult.AGAIN:
        wake.workers(queue)
    return dict(supervised)


@shared_task(name="runs.tasks.flush", ignore_result=True)
def flush() -> None:
    """Carry what is buffered to the database."""
    from runs.conf import runs_settings
    from runs.lines.flush import flush_all

    flush_all(runs_settings().flush_budget_s)


@shared_task(name="runs.tasks.reconcile", ignore_result=True)
def reconcile() -> None:
    """Find what is stuck and set it going again; remove results of tasks that are old."""
    from runs.recovery import reconcile as reconciling
    from runs.recovery import task_results

    try:
        reconciling.reconcile()
        task_results.remove_old()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Reconciling waits for the database: %s", str(error).strip())


def recover_at_start() -> None:
    """Recover when a worker starts, in a thread of its own: kill the orphan processes of a dead worker of this machine
    and recover its runs, rather than leave that to the next tick.
    """
    from runs.recovery import reconcile as reconciling
    from runs.recovery.orphans import kill_orphans

    try:
        kill_orphans()
        reconciling.reconcile()
    except Exception:
        logger.exception("Cannot recover the runs of an earlier worker; the next tick tries again")
    finally:
        connections.close_all()


@shared_task(name="runs.tasks.schedules", ignore_result=True)
def schedules() -> None:
    """Launch what is due by the clock, and enter in the ledger what became of every slot."""
    from runs.conf import runs_settings
    from runs.schedules.tick import tick

    try:
        tick(runs_settings().schedules_budget_s)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Schedules wait for the database: %s", str(error).strip())
