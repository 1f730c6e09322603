"""Rows that the runtime of a worker reads and writes: its own, and those of its runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from runs import __version__
from runs.forkserver import machine
from runs.models import Run, Worker

logger = logging.getLogger(__name__)


def cancel_requester(run_id: int) -> str:
    """Return the name of the user who requested the cancel of a run; empty if the database is unavailable."""
    try:
        return Run.objects.filter(pk=run_id).values_list("cancel_requested_by", flat=True).first() or ""
    except (DatabaseError, InterfaceError):
        return ""


def register_worker(name: str, queues: list[str], slots: int) -> Worker:
    """Create the row of this worker process."""
    return Worker.objects.create(
        name=name,
        host=machine.host(),
        boot_id=machine.boot_id(),
        pid=os.getpid(),
        pid_started=machine.started(os.getpid()) or 0.0,
        queues=queues,
        slots=slots,
        version=__version__,
    )


def try_write(what: str, write: Callable[[], Any]) -> None:
    """Attempt a write that may fail: reconcile relies on the process and its leases instead."""
    try:
        write()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Cannot %s: %s", what, str(error).strip())
    finally:
        connections.close_all()
