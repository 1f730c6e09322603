"""Launches of schedules made ready: looked up and validated before any transaction, since code of authors validates.

A transaction holds rows, and on SQLite the one writer lock: nothing in it waits for an experiment. What is made ready
here is used there only if the schedule still says the same (`Basis`); otherwise it is left for the next tick.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from experiments import catalog
from experiments.models import Instance
from runs import launch_order
from runs.exceptions import LaunchPostponed, LaunchRefused
from runs.models import Schedule, Slot
from runs.schedules.policy import moment
from runs.states import SlotState

logger = logging.getLogger(__name__)

Basis = tuple[Any, ...]
"""Everything that a launch is made from."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The launch of a schedule, or why there is none."""

    basis: Basis
    order: launch_order.Order | None = None
    refusal: str = ""
    """In a sentence; empty if it can be launched."""


def basis_of(schedule: Schedule) -> Basis:
    instance = schedule.instance
    return (
        schedule.instance_name,
        schedule.experiment,
        (instance.pk, moment(instance.updated_at), instance.updated_at.microsecond) if instance else None,
        schedule.configuration,
        schedule.limits,
        schedule.queue,
        schedule.priority,
    )


def make_ready(ids: Collection[int]) -> dict[int, Ready]:
    """Launches of those of the schedules that may need one now, by id. Never waits for experiments to be loaded.

    A schedule that cannot be judged right now is left out. Not within a transaction.
    """
    waits = Slot.objects.filter(schedule=OuterRef("pk"), state=SlotState.WAITING)
    needy = Schedule.objects.filter(Q(due_at__lte=Now()) | Exists(waits), pk__in=ids).select_related("instance")
    ready: dict[int, Ready] = {}
    with catalog.without_waiting():
        for schedule in needy:
            if (launch := ready_one(schedule)) is not None:
                ready[schedule.pk] = launch
    return ready


def ready_one(schedule: Schedule) -> Ready | None:
    """The launch of one schedule; None if nobody can say right now. Not within a transaction."""
    basis = basis_of(schedule)
    try:
        return Ready(basis, prepared(schedule))
    except LaunchPostponed as error:
        logger.info("Schedule %s waits for the next tick: %s", schedule.name, error)
        return None
    except LaunchRefused as error:
        return Ready(basis, refusal=f"It could not be launched: {error}")
    except DatabaseError:
        raise
    except Exception as error:  # whatever an author's validator raises is this schedule's trouble alone
        logger.exception("Schedule %s cannot be prepared", schedule.name)
        return Ready(basis, refusal=f"It could not be launched: {type(error).__name__}: {error}")


def prepared(schedule: Schedule) -> launch_order.Order:
    """What the schedule launches, looked up and checked. Raises LaunchRefused."""
    return launch_order.prepare(
        _target(schedule),
        configuration=schedule.configuration,
        limits=schedule.limits,
        queue=schedule.queue or None,
        priority=schedule.priority,
    )


def _target(schedule: Schedule) -> Any:
    """Its instance, found again by name if it was deleted and made anew; else its experiment."""
    if not schedule.instance_name:
        return launch_order.find_experiment(schedule.experiment)
    if schedule.instance is None:
        schedule.instance = Instance.objects.filter(name=schedule.instance_name).first()
    if schedule.instance is None:
        raise LaunchRefused(f"its instance {schedule.instance_name} is no longer there; make it again, or name another")
    return schedule.instance
