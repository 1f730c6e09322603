"""Rows for tests, valid by the models' own constraints. Each keyword is a column."""

from __future__ import annotations

import itertools
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from runs.models import Attempt, Run, Worker
from runs.states import Status
from runs.transitions import from_now

_numbers = itertools.count(1)


def make_run(**values: Any) -> Run:
    """A pending run of the scripted experiment."""
    return Run.objects.create(**{"experiment": "scripted", "seed": 1, "name": f"run {next(_numbers)}"} | values)


def make_worker(**values: Any) -> Worker:
    """A worker on a host that is none of this machine's, so that nobody looks for its process here."""
    number = next(_numbers)
    host = f"elsewhere-{number}"
    columns = {"name": f"runs@{host}", "host": host, "boot_id": "boot", "pid": number, "pid_started": 1.0}
    return Worker.objects.create(**columns | values)


def make_attempt(
    run: Run | None = None, *, worker: Worker | None = None, lease_s: float = 60.0, **values: Any
) -> Attempt:
    """Start the next attempt of a run; a lease of negative length has expired. Its `run` is fresh."""
    run = run or make_run()
    Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, attempt=F("attempt") + 1, started_at=Now())
    run.refresh_from_db()
    columns = {"run": run, "number": run.attempt, "worker": worker or make_worker()}
    return Attempt.objects.create(**columns | {"lease_expires_at": from_now(lease_s)} | values)
