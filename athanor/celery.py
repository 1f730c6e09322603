"""Celery application: `celery -A athanor worker|beat`. Comments give the reason for each changed default.

A message is only a hint, since runs are in the database: messages are acknowledged before they are processed, none is
prefetched, none is retried or delayed by Celery. Lost and duplicate messages do no harm (runs.recovery.reconcile).
"""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging, worker_ready
from django.conf import settings

from athanor import databases, transport
from runs.conf import SYSTEM_QUEUE, RunsSettings, runs_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "athanor.settings")

TRANSPORT_OPTIONS: dict[str, Any] = {
    # Without time-outs a half-open connection blocks workers, beat and publishers forever.
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,
    # Messages are hints, and their loss is repaired: no record of unacknowledged ones, which takes two calls a message.
    "ack_emulation": False,
    # Allows other programs to use the same Redis.
    "global_keyprefix": databases.BROKER_KEY_PREFIX,
}

EARLY_ACKNOWLEDGEMENT: dict[str, Any] = {
    # With late acknowledgement, a lost connection runs a task twice or stops a worker's consumer permanently.
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # A prefetched message is unacknowledged, and hidden from other workers.
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
}

RECONNECT: dict[str, Any] = {
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    # Publishers are page requests: give up within a second, reconcile sends again.
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
}

QUIET: dict[str, Any] = {
    # Messages between workers that Athanor does not use.
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    # Django's LOGGING configures all logs; output of experiments is captured in their child.
    "worker_redirect_stdouts": False,
}

RESULTS: dict[str, Any] = {
    "result_backend": "athanor.results:Backend",
    "result_extended": True,
    # Two ticks a second would be 172,800 rows a day: only runs.tasks.execute keeps its result.
    "task_ignore_result": True,
    # Celery's own clean-up deletes everything in one transaction.
    "result_expires": None,
}

JSON_ONLY: dict[str, Any] = {
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
}


def beat_schedule(conf: RunsSettings) -> dict[str, dict[str, Any]]:
    """Return the periodic tasks, see athanor.beat. Ticks have no expiry: it would compare clocks of two machines."""
    periods = {
        "runs.tasks.flush": conf.flush_every_s,
        "runs.tasks.reconcile": conf.reconcile_every_s,
        "runs.tasks.schedules": conf.schedules_every_s,
    }
    return {
        task: {
            "task": task,
            "schedule": timedelta(seconds=period),
            "options": {"queue": SYSTEM_QUEUE},
        }
        for task, period in periods.items()
    }


transport.install()
app = Celery("athanor", set_as_current=True, fixups={"athanor.fixup:install"})
app.conf.update(
    broker_url=databases.broker_url(settings.REDIS_URL),
    broker_transport_options=TRANSPORT_OPTIONS,
    task_default_queue=SYSTEM_QUEUE,
    beat_schedule=beat_schedule(runs_settings()),
    # Intervals need no record of earlier ticks, so there is no file that a crash could corrupt.
    beat_scheduler="athanor.beat:Scheduler",
    timezone="UTC",
    **EARLY_ACKNOWLEDGEMENT,
    **RECONNECT,
    **QUIET,
    **RESULTS,
    **JSON_ONLY,
)
app.autodiscover_tasks()


def _leave_logging_to_django(**_: Any) -> None:
    """Do nothing: a connected receiver keeps Celery from replacing Django's log handlers."""


def _install_supervision(**_: Any) -> None:
    """Add the steps that start and stop supervision, after Django's setup and before Celery reads its steps."""
    from runs.worker import steps

    steps.install(app)


def _begin_service(**_: Any) -> None:
    """Load experiments in the catalog process only, from the first step of a worker or beat. Keep files private."""
    from experiments import catalog, umask

    umask.make_private()

    catalog.use_process()


def _report_ready(**_: Any) -> None:
    """Report to `up`, if it started this process."""
    if path := os.environ.get("ATHANOR_READY_FILE"):
        Path(path).touch()


def _recover_at_start(**_: Any) -> None:
    from runs.tasks import recover_at_start

    threading.Thread(target=recover_at_start, name="recover-at-start", daemon=True).start()


setup_logging.connect(_leave_logging_to_django, weak=False)
celeryd_init.connect(_begin_service, weak=False)
celeryd_init.connect(_install_supervision, weak=False)
beat_init.connect(_begin_service, weak=False)
worker_ready.connect(_report_ready, weak=False)
worker_ready.connect(_recover_at_start, weak=False)
beat_init.connect(_report_ready, weak=False)
