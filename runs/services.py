"""The public verbs: launch, cancel, retry, rerun, the two questions `is_active` and `whereis`, and those of schedules.

Every way in (admin, commands, Python, later REST, MCP and schedules) comes through here. Permissions are the callers'.
Each verb is one transaction: after a crash the run is there as a whole or not at all, and a run whose wake-up was lost
is found by `runs.recovery.reconcile`. Nothing here waits for a worker, but for `inspect`, which asks one.
"""

from __future__ import annotations

import logging
import threading
import time
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
from runs import launch_order, transitions, wake
from runs.exceptions import BufferUnavailable, RunNotFinal, RunNotFound, TagsRefused
from runs.inspections import Inspection
from runs.lines.buffer import buffer
from runs.models import Attempt, Checkpoint, Run, Schedule, Slot
from runs.schedules import service
from runs.schedules.service import Backfilled
from runs.states import Origin, Status

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

log = logging.getLogger(__name__)

ANSWER_EVERY_S = 0.1
"""How often an inspection's answer is looked for."""


@dataclass(frozen=True, slots=True)
class Whereis:
    """Who executes a run right now."""

    worker: str
    host: str
    pid: int | None
    """Of the worker."""
    child_pid: int | None
    attempt: int
    since: datetime


def launch(  # noqa: PLR0913  # the one verb with many optional words; each is a column of the run
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
    """A new pending run of an experiment (its class or name) or of an instance (itself or its name).

    A name that both an instance and an experiment have is the instance. For an instance, `configuration`, `limits` and
    `tags` are laid over its own; nested mappings are merged, unless the configuration `is_whole` and replaces that of
    the instance. Limits: experiment, then instance, then launch. `retries` (kind of failure → how often, or the fields
    of a Retry) are laid over the experiment's. The wake-up is sent after the commit. Raises LaunchRefused with all
    problems at once; then nothing was written.
    """
    order = launch_order.prepare(
        experiment_or_instance,
        configuration=configuration,
        is_whole=is_whole,
        limits=limits,
        tags=tags,
        queue=queue,
        priority=priority,
        retries=retries,
    )
    return _create(
        order,
        name=launch_order.check_name(name) or (order.instance.name if order.instance else ""),
        seed=launch_order.choose_seed(seed),
        launched_by=by,
        launched_via=via,
        not_before=not_before,
        slot=slot,
    )


def cancel(run_id: int, *, by: str) -> Status:
    """Ask for the end of a run; returns the status that it has now: cancelled (it had not begun), running (the request
    is stored, its supervisor sees to it) or the final one that it had already. May be repeated. Raises RunNotFound."""
    status = transitions.request_cancel(run_id, by=by)
    if status is None:
        raise RunNotFound(run_id)
    if status == Status.RUNNING:
        transaction.on_commit(partial(_flag_cancel, run_id))
    return status


def retry(run_id: int, *, by: AbstractBaseUser | None = None, via: str = "python") -> Run:
    """A new run with the same configuration, limits and seed, which goes on from the last checkpoint of the old one."""
    return _again(run_id, Origin.RETRY, by=by, via=via)


def rerun(run_id: int, *, by: AbstractBaseUser | None = None, via: str = "python") -> Run:
    """A new run with the same configuration, limits and seed, which starts clean."""
    return _again(run_id, Origin.RERUN, by=by, via=via)


def reproduce(run_id: int, *, by: AbstractBaseUser | None = None, via: str = "python") -> Run:
    """As `rerun`; once the new run has completed, `runs.comparison.verdict` says whether its results are the same."""
    return _again(run_id, Origin.REPRODUCE, by=by, via=via)


def tag(run_id: int, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> bool:
    """Change the tags of a run; whether that changed anything. Raises RunNotFound or TagsRefused."""
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).only("tags", "experiment").filter(pk=run_id).first()
        if run is None:
            raise RunNotFound(run_id)
        gone = set(remove)
        kept = [tag for tag in run.tags if tag not in gone]
        try:
            added = [tag for tag in validate_tags(run.experiment, list(add)) if tag not in gone]
            tags = validate_tags(run.experiment, [*kept, *added]) if added else kept
        except InvalidDefinition as error:
            raise TagsRefused("; ".join(f"{path}: {text}" for path, text in error.problems.items())) from error
        if tags == run.tags:
            return False
        Run.objects.filter(pk=run_id).update(tags=tags)
    return True


def is_active(run_id: int) -> bool:
    """True while a worker takes care of the run: an attempt is open whose lease, by the database's clock, is valid."""
    return _leased(run_id).exists()


def whereis(run_id: int) -> Whereis | None:
    """Where the run is executed now; None when it is not (see `is_active`)."""
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


def create_schedule(name: str, *, owner: AbstractBaseUser | None = None, **values: Any) -> Schedule:
    """A new schedule; `values` are columns of `Schedule`, as `experiment="digits", cron="30 2 * * *"`. Its first slot
    is after this moment. It launches in its owner's name; without one, as the shell does. Raises ScheduleRefused."""
    return service.create(name=name, owner=owner, **values)


def change_schedule(schedule_id: int, *, owner: AbstractBaseUser | None = None, **values: Any) -> Schedule:
    """Change columns; the owner is from now on who changes it. Raises ScheduleNotFound, ScheduleRefused."""
    return service.change(schedule_id, owner=owner, **values)


def pause_schedule(schedule_id: int, *, by: str) -> Schedule:
    """Enter its slots as paused from now on. May be repeated. Raises ScheduleNotFound."""
    return service.pause(schedule_id, by=by)


def resume_schedule(schedule_id: int, *, by: str) -> Schedule:
    """Launch its slots again from now on. May be repeated. Raises ScheduleNotFound."""
    return service.resume(schedule_id, by=by)


def delete_schedule(schedule_id: int) -> None:
    """It and its ledger go; its runs are kept, those that have not ended go on. Raises ScheduleNotFound."""
    service.delete(schedule_id)


def trigger_schedule(schedule_id: int, *, by: str, actor: AbstractBaseUser | None = None, anyway: bool = False) -> Slot:
    """Launch it now, paused or not, unless its overlap policy forbids; `anyway` even then. Returns the ledger's row,
    which says what came of it. Raises ScheduleNotFound."""
    return service.trigger(schedule_id, by=by, actor=actor, anyway=anyway)


def backfill_schedule(
    schedule_id: int, start: datetime, end: datetime, *, by: str, dry_run: bool = False
) -> list[Backfilled]:
    """Run the slots from `start` to `end`, both included, that have not run. Returns all slots of that time. Raises
    ScheduleNotFound, ScheduleRefused."""
    return service.backfill(schedule_id, start, end, by=by, dry_run=dry_run)


def inspect(run_id: int, *, timeout_s: float = 5.0) -> Inspection | None:
    """Where a run is right now: the Python stacks of its threads and its process tree. The run goes on meanwhile.

    Blocks until its supervisor has answered, `timeout_s` at most. None if it is not being executed, or if there was no
    answer in time; a later one is kept on the attempt. Raises RunNotFound.
    """
    if not Run.objects.filter(pk=run_id).exists():
        raise RunNotFound(run_id)
    key = transitions.request_inspection(run_id)
    if key is None:
        return None
    try:
        buffer().ask_inspection(run_id)
    except BufferUnavailable as error:
        log.info("the heartbeat of run %s will hear that it is asked for: %s", run_id, error)
    asked = Attempt.objects.filter(run_id=run_id, number=key.number)
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while time.monotonic() < deadline:
        attempt = asked.only("inspection", "inspection_asked_at").first()
        if attempt is None or attempt.inspection_asked_at is None:
            return attempt.inspection if attempt else None
        pause.wait(ANSWER_EVERY_S)
    return None


def _leased(run_id: int) -> QuerySet[Attempt]:
    return Attempt.objects.filter(run_id=run_id, finished_at=None, lease_expires_at__gt=Now())


def _create(order: launch_order.Order, **values: Any) -> Run:
    with transaction.atomic():
        run = launch_order.new_run(order, **values)
        run.save()
        transaction.on_commit(partial(wake.workers, order.queue))
    run.refresh_from_db(fields=["created_at"])
    return run


def _again(run_id: int, kind: Origin, *, by: AbstractBaseUser | None, via: str) -> Run:
    """A new run made from a final one. Its configuration is validated again: the experiment may have changed since."""
    old = Run.objects.select_related("instance").filter(pk=run_id).first()
    if old is None:
        raise RunNotFound(run_id)
    if not old.is_final:
        raise RunNotFinal(run_id, old.status, "retried" if kind == Origin.RETRY else "run again")
    order = launch_order.checked(
        launch_order.Order(
            launch_order.find_experiment(old.experiment),
            old.instance,
            dict(old.configuration),
            dict(old.limits),
            list(old.tags),
            old.queue,
            old.priority,
            dict(old.retries),
        )
    )
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
    kept = Checkpoint.objects.filter(run=old).first()
    if kept is not None:
        Checkpoint.objects.create(run=new, attempt=0, number=0, state=kept.state)


def _flag_cancel(run_id: int) -> None:
    """Tell the supervisor at once. The column is what counts: without Redis the heartbeat reads it a moment later."""
    try:
        buffer().flag_cancel(run_id)
    except BufferUnavailable as error:
        log.warning("cancel of run %s is stored, but its supervisor could not be told at once: %s", run_id, error)
