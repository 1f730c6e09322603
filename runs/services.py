"""Public API: launch, cancel, retry, rerun, tag and inspect runs; create, change and trigger schedules.

The admin, the commands and Python all use it. Callers check permissions. Each function is one transaction: after a
crash the change is stored as a whole or not at all, and `runs.recovery.reconcile` sends a wake-up that was lost. No
function waits for a worker, except `inspect`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from experiments.base import Experiment
from experiments.catalog import Entry
from experiments.exceptions import InvalidDefinition
from experiments.models import Instance
from experiments.validation import validate_tags
from runs import audit, launch_order, launch_rights, transitions, wake
from runs.exceptions import BufferUnavailable, RunNotFinal, RunNotFound, TagsRefused
from runs.inspections import inspect
from runs.lines.buffer import buffer
from runs.models import Attempt, Checkpoint, Run
from runs.schedules.service import backfill as backfill_schedule
from runs.schedules.service import change as change_schedule
from runs.schedules.service import create as create_schedule
from runs.schedules.service import delete as delete_schedule
from runs.schedules.service import pause as pause_schedule
from runs.schedules.service import resume as resume_schedule
from runs.schedules.service import trigger as trigger_schedule
from runs.states import Act, Origin, Status

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

__all__ = [
    "Whereis", "backfill_schedule", "cancel", "change_schedule", "create_schedule", "delete_schedule", "inspect",
    "is_active", "launch", "launch_many", "pause_schedule", "reproduce", "rerun", "resume_schedule", "retry", "tag",
    "trigger_schedule", "whereis",
]  # fmt: skip

logger = logging.getLogger(__name__)

BATCH = 500
"""Number of runs in one INSERT."""


@dataclass(frozen=True, slots=True)
class Whereis:
    """Location of a run: the worker and the process that execute it."""

    worker: str
    host: str
    pid: int | None
    """Pid of the worker."""
    child_pid: int | None
    attempt: int
    since: datetime


def launch(  # noqa: PLR0913  # each argument is a column of the run
    experiment_or_instance: str | Instance | type[Experiment] | Entry,
    *,
    configuration: Mapping[str, Any] | None = None,
    is_whole: bool = False,
    name: str = "",
    tags: Iterable[str] = (),
    limits: Mapping[str, Any] | None = None,
    seed: int | None = None,
    queue: str | None = None,
    priority: int | None = None,
    retries: Mapping[str, Any] | None = None,
    by: AbstractBaseUser | None = None,
    via: str = "python",
    not_before: datetime | None = None,
    slot: datetime | None = None,
) -> Run:
    """Create a pending run of an experiment (its class or name) or of an instance (itself or its name).

    If an instance and an experiment share a name, the instance is used. For an instance, `configuration`, `limits` and
    `tags` override its own; nested mappings are merged, unless the configuration `is_whole` and replaces that of the
    instance. Limits of the launch override those of the instance, which override the experiment's. `retries` (failure
    kind → number of retries, or the fields of a Retry) override the experiment's. The wake-up is sent after the commit.
    Raises LaunchRefused with all problems at once; nothing is written then.
    """
    order = launch_order.prepare(
        experiment_or_instance, configuration=configuration, is_whole=is_whole, limits=limits, tags=tags,
        queue=queue, priority=priority, retries=retries,
    )  # fmt: skip
    own = (configuration, is_whole, tags, limits, retries, queue, seed is not None, priority is not None)
    launch_rights.check(by, order, is_unchanged=order.instance is not None and not any(own))
    return _create(
        order, **launch_order.columns(order, name=name, seed=seed, by=by, via=via, not_before=not_before, slot=slot)
    )


def launch_many(
    experiment_or_instance: str | Instance | type[Experiment] | Entry,
    configurations: Iterable[Mapping[str, Any]],
    **common: Any,
) -> list[Run]:
    """Create one pending run for each configuration, all in one transaction. `common` are arguments of `launch`.

    Raises LaunchRefused with the problems of all configurations, each path with its index: `3.configuration.lr`.
    Nothing is written then.
    """
    runs = launch_order.new_runs(experiment_or_instance, configurations, **common)
    for experiment, queue in {(run.experiment, run.queue) for run in runs} if common.get("by") else ():
        launch_rights.check_names(common["by"], experiment, queue, is_unchanged=False)
    with transaction.atomic():
        runs = Run.objects.bulk_create(runs, batch_size=BATCH)
        if runs:
            first, last = runs[0], runs[-1]
            name = first.name or first.experiment
            audit.record(Act.LAUNCH, first, name=name, count=len(runs), by=first.launched_by, last=last.pk)
        for queue, count in Counter(run.queue for run in runs).items():
            transaction.on_commit(partial(wake.workers, queue, count))
    return runs


def cancel(run_id: int, *, by: str) -> Status:
    """Cancel a run. Return its status: cancelled (it was pending), running (the request is stored, and its supervisor
    stops it) or its earlier final status. May be repeated. Raises RunNotFound.
    """
    with transaction.atomic():
        status = transitions.request_cancel(run_id, by=by)
        if status is None:
            raise RunNotFound(run_id)
        if status in (Status.RUNNING, Status.CANCELLED):
            audit.record(Act.CANCEL, kind="run", key=run_id, by=audit.actor().called(by), status=status)
        if status == Status.RUNNING:
            transaction.on_commit(partial(_flag_cancel, run_id))
    return status


def retry(run_id: int, *, by: AbstractBaseUser | None = None, via: str = "python") -> Run:
    """Launch a finished run again with the same configuration, limits and seed, from its last checkpoint."""
    return _again(run_id, Origin.RETRY, by=by, via=via)


def rerun(run_id: int, *, by: AbstractBaseUser | None = None, via: str = "python") -> Run:
    """Launch a finished run again with the same configuration, limits and seed, from scratch."""
    return _again(run_id, Origin.RERUN, by=by, via=via)


def reproduce(run_id: int, *, by: AbstractBaseUser | None = None, via: str = "python") -> Run:
    """Launch a finished run again from scratch, to compare its results with `runs.comparison.verdict`."""
    return _again(run_id, Origin.REPRODUCE, by=by, via=via)


def tag(run_id: int, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> bool:
    """Change the tags of a run. Return whether they changed. Raises RunNotFound or TagsRefused."""
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).only("tags", "experiment", "name").filter(pk=run_id).first()
        if run is None:
            raise RunNotFound(run_id)
        removed = set(remove)
        kept = [tag for tag in run.tags if tag not in removed]
        try:
            added = [tag for tag in validate_tags(run.experiment, list(add)) if tag not in removed]
            tags = validate_tags(run.experiment, [*kept, *added]) if added else kept
        except InvalidDefinition as error:
            raise TagsRefused("; ".join(f"{path}: {text}" for path, text in error.problems.items())) from error
        if tags == run.tags:
            return False
        Run.objects.filter(pk=run_id).update(tags=tags)
        audit.record(Act.TAG, run, added=sorted({*tags} - {*run.tags}), removed=sorted({*run.tags} - {*tags}))
    return True


def is_active(run_id: int) -> bool:
    """Return whether a worker executes the run: it has an open attempt with a valid lease, by the database's clock."""
    return _leased(run_id).exists()


def whereis(run_id: int) -> Whereis | None:
    """Return where the run is executed, or None if it is not (see `is_active`)."""
    attempt = _leased(run_id).select_related("worker").first()
    if attempt is None:
        return None
    worker = attempt.worker
    return Whereis(
        worker=worker.name if worker else "",
        host=worker.host if worker else "",
        pid=worker.pid if worker else None,
        child_pid=attempt.child_pid,
        attempt=attempt.number,
        since=attempt.claimed_at,
    )


def _leased(run_id: int) -> QuerySet[Attempt]:
    return Attempt.objects.open().filter(run_id=run_id, lease_expires_at__gt=Now())


def _create(order: launch_order.Order, **values: Any) -> Run:
    run = launch_order.new_run(order, **values)
    origin: dict[str, Any] = {"from": run.origin_id} if run.origin_id else {}
    name = run.name or run.experiment
    audit.insert_with(run, Act(run.origin_kind or Act.LAUNCH), name=name, by=run.launched_by, **origin)
    transaction.on_commit(partial(wake.workers, order.queue))
    del vars(run)["created_at"]  # the database has computed it: read when it is used
    return run


def _again(run_id: int, kind: Origin, *, by: AbstractBaseUser | None, via: str) -> Run:
    """Launch a finished run again. Validates its configuration: the experiment may have changed."""
    old = Run.objects.select_related("instance").filter(pk=run_id).first()
    if old is None:
        raise RunNotFound(run_id)
    if not old.is_final:
        raise RunNotFinal(run_id, old.status, "retried" if kind == Origin.RETRY else "run again")
    order = launch_order.checked(launch_order.of_run(old))
    launch_rights.check(by, order, is_unchanged=True)
    with transaction.atomic():
        run = _create(
            order,
            name=old.name,
            seed=old.seed,
            slot=old.slot,
            schedule_id=old.schedule_id,
            launched_by=by,
            launched_via=via,
            origin=old,
            origin_kind=kind,
        )
        if kind == Origin.RETRY:
            _copy_checkpoint(old, run)
    return run


def _copy_checkpoint(old: Run, new: Run) -> None:
    checkpoint = Checkpoint.objects.filter(run=old).first()
    if checkpoint is not None:
        Checkpoint.objects.create(run=new, attempt=0, number=0, state=checkpoint.state)


def _flag_cancel(run_id: int) -> None:
    """Notify the supervisor through Redis. Without Redis, its worker reads the request from the database."""
    try:
        buffer().flag_cancel(run_id)
    except BufferUnavailable as error:
        logger.warning("Run %s: its worker reads the cancel request from the database: %s", run_id, error)
