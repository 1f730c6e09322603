"""Celery tasks. Each is a few lines that call a function which does not depend on Celery."""

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
)
def execute(self: Any, *_: Any, **__: Any) -> dict[str, Any]:
    """Claim the next due run of the message's queue and execute it. The message is a wake-up and names no run.

    Arguments, as other versions may send them, are ignored.
    """
    from runs.supervisor.supervise import supervise_next
    from runs.worker.runtime import runtime, serves  # only run workers load the supervisor

    queue = self.request.delivery_info["routing_key"]
    if not serves(queue):
        logger.warning("Ignored a wake-up for queue %s, which this worker does not serve", queue)
        raise Ignore
    try:
        supervised = supervise_next(runtime().services(), [queue], self.request.id)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Ignored a wake-up, since the database is unavailable: %s", str(error).strip())
        raise Ignore from error
    if supervised is None:
        logger.info("No run is due in queue %s: the wake-up was a duplicate, or another worker was faster", queue)
        raise Ignore
    if supervised["then"] == EndResult.AGAIN:
        wake.workers(queue)
    return dict(supervised)


@shared_task(name="runs.tasks.flush", ignore_result=True)
def flush() -> None:
    """Move buffered lines and results to the database."""
    from runs.conf import runs_settings
    from runs.lines.flush import flush_all

    flush_all(runs_settings().flush_budget_s)


@shared_task(name="runs.tasks.reconcile", ignore_result=True)
def reconcile() -> None:
    """Recover lost runs, send missing wake-ups, and remove old task results and audit entries."""
    from runs import audit
    from runs.recovery import reconcile as reconciling
    from runs.recovery import task_results

    try:
        reconciling.reconcile()
        task_results.remove_old()
        audit.remove_old()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Reconcile failed, since the database is unavailable: %s", str(error).strip())


def recover_at_start() -> None:
    """Kill the orphan processes of dead workers of this machine, and recover their runs before the next tick does.

    Called in a thread of its own when a worker starts.
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
    """Launch the scheduled times that are due, and record each in the history."""
    from runs.conf import runs_settings
    from runs.schedules.tick import tick

    try:
        tick(runs_settings().schedules_budget_s)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Schedules were not checked, since the database is unavailable: %s", str(error).strip())
