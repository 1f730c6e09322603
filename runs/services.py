"""The public verbs: launch, cancel, retry, rerun, and the two questions `is_active` and `whereis`.

Every way in (admin, commands, Python, later REST, MCP and schedules) comes through here. Permissions are the callers'.
Each verb is one transaction: after a crash the run is there as a whole or not at all, and a run whose wake-up was lost
is found by `runs.reconcile`. Nothing here waits for a worker.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from pydantic import ValidationError

from experiments.base import Experiment
from experiments.exceptions import ExperimentsError, InvalidDefinition
from experiments.models import Instance
from experiments.registry import registry
from experiments.validation import validate_definition
from runs import tasks, transitions
from runs.buffer import buffer
from runs.exceptions import BufferUnavailable, LaunchRefused, RunNotFinal, RunNotFound
from runs.models import Attempt, Checkpoint, Run
from runs.states import Origin, Status

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

log = logging.getLogger(__name__)

SEED_MAX = 2**31 - 1
"""numpy, scikit-learn and torch all take a seed up to here."""


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


@dataclass(frozen=True, slots=True)
class _Order:
    """A launch after everything has been looked up and merged: what is validated and then written."""

    experiment: type[Experiment]
    instance: Instance | None
    configuration: dict[str, Any]
    limits: dict[str, Any]
    tags: list[str]
    queue: str
    priority: int


def launch(  # noqa: PLR0913  # the one verb with many optional words; each is a column of the run
    experiment_or_instance: str | Instance | type[Experiment],
    *,
    configuration: Mapping[str, Any] | None = None,
    is_whole: bool = False,
    name: str = "",
    tags: Iterable[str] = (),
    limits: Mapping[str, Any] | None = None,
    seed: int | None = None,
    queue: str | None = None,
    priority: int | None = None,
    by: AbstractBaseUser | None = None,
    via: str = "python",
    not_before: datetime | None = None,
    slot: datetime | None = None,
) -> Run:
    """A new pending run of an experiment (its class or name) or of an instance (itself or its name).

    A name that both an instance and an experiment have is the instance. For an instance, `configuration`, `limits` and
    `tags` are laid over its own; nested mappings are merged, unless the configuration `is_whole` and replaces that of
    the instance. Limits: experiment, then instance, then launch. The wake-up is sent after the commit. Raises
    LaunchRefused with all problems at once; then nothing was written.
    """
    experiment, instance = _resolve(experiment_or_instance)
    below = instance.configuration if instance and not is_whole else {}
    whole = laid_over(below, configuration or {})
    order = _checked(_order(experiment, instance, whole, limits, tags, queue, priority))
    return _create(
        order,
        name=name or (instance.name if instance else ""),
        seed=_seed(seed),
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


def _leased(run_id: int) -> QuerySet[Attempt]:
    return Attempt.objects.filter(run_id=run_id, finished_at=None, lease_expires_at__gt=Now())


def _resolve(wanted: str | Instance | type[Experiment]) -> tuple[type[Experiment], Instance | None]:
    """The experiment's class, and the instance if one is meant."""
    if isinstance(wanted, Instance):
        return _experiment(wanted.experiment), wanted
    if isinstance(wanted, str):
        instance = Instance.objects.filter(name=wanted).first()
        return _experiment(instance.experiment if instance else wanted), instance
    return wanted, None


def _experiment(name: str) -> type[Experiment]:
    try:
        return registry().get(name)
    except ExperimentsError as error:
        raise LaunchRefused(str(error), {"experiment": str(error)}) from error


def _order(
    experiment: type[Experiment],
    instance: Instance | None,
    configuration: dict[str, Any],
    limits: Mapping[str, Any] | None,
    tags: Iterable[str],
    queue: str | None,
    priority: int | None,
) -> _Order:
    """Lay what the launch says over what the instance and the experiment say."""
    tags = list(tags)
    if instance is None:
        return _Order(
            experiment,
            None,
            configuration,
            dict(limits or {}),
            tags,
            queue or experiment.queue,
            priority or 0,
        )
    return _Order(
        experiment,
        instance,
        configuration,
        {**instance.limits, **(limits or {})},
        list(dict.fromkeys([*instance.tags, *tags])),
        queue or instance.queue or experiment.queue,
        instance.priority if priority is None else priority,
    )


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; mappings in both are merged, anything else is replaced. Pure."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = laid_over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _checked(order: _Order) -> _Order:
    """The order with defaults filled in and all limits spelled out; raises LaunchRefused."""
    try:
        definition = validate_definition(order.experiment.name, order.configuration, order.limits, order.tags)
        limits = order.experiment.limits.overridden(definition.limits)
    except InvalidDefinition as error:
        raise _refused(error.problems) from error
    except ValidationError as error:
        raise _refused({".".join(("limits", *map(str, e["loc"]))): e["msg"] for e in error.errors()}) from error
    return replace(order, configuration=definition.configuration, limits=limits.model_dump(), tags=definition.tags)


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbelow(SEED_MAX)
    if not 0 <= seed <= SEED_MAX:
        raise _refused({"seed": f"{seed} is out of range; a seed is a whole number from 0 to {SEED_MAX}"})
    return seed


def _refused(problems: Mapping[str, str]) -> LaunchRefused:
    return LaunchRefused("; ".join(f"{path}: {message}" for path, message in problems.items()), dict(problems))


def _create(order: _Order, **values: Any) -> Run:
    with transaction.atomic():
        run = Run.objects.create(
            experiment=order.experiment.name,
            instance=order.instance,
            configuration=order.configuration,
            limits=order.limits,
            tags=order.tags,
            queue=order.queue,
            priority=order.priority,
            on_lost=order.experiment.on_lost,
            max_attempts=order.experiment.max_attempts,
            **values,
        )
        transaction.on_commit(partial(tasks.wake, order.queue))
    run.refresh_from_db(fields=["created_at"])
    return run


def _again(run_id: int, kind: Origin, *, by: AbstractBaseUser | None, via: str) -> Run:
    """A new run made from a final one. Its configuration is validated again: the experiment may have changed since."""
    old = Run.objects.select_related("instance").filter(pk=run_id).first()
    if old is None:
        raise RunNotFound(run_id)
    if not old.is_final:
        raise RunNotFinal(run_id, old.status, "retried" if kind == Origin.RETRY else "run again")
    order = _checked(
        _Order(
            _experiment(old.experiment),
            old.instance,
            dict(old.configuration),
            dict(old.limits),
            list(old.tags),
            old.queue,
            old.priority,
        )
    )
    with transaction.atomic():
        run = _create(
            order,
            name=old.name,
            seed=old.seed,
            slot=old.slot,
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
