"""Prepare the launches of schedules before any transaction, because validators of experiments are user code.

A transaction holds row locks, and on SQLite the only writer lock, so nothing in it waits for an experiment. A prepared
launch is used only if the schedule still has the same `Basis`; otherwise its slots wait for the next tick.
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
"""Values from which a launch is prepared."""


HAS_WAITING_SLOT = Exists(Slot.objects.filter(schedule=OuterRef("pk"), state=SlotState.WAITING))
"""Condition for a query of schedules."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Prepared launch of a schedule, or the reason why it cannot launch."""

    basis: Basis
    order: launch_order.Order | None = None
    refusal: str = ""
    """Sentence; empty if it can launch."""


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
    """Prepare the launches of those schedules that may need one now, by id. Never waits for experiments to be loaded.

    A schedule that is undecided right now is left out. Not within a transaction.
    """
    schedules = Schedule.objects.filter(Q(due_at__lte=Now()) | HAS_WAITING_SLOT, pk__in=ids)
    ready: dict[int, Ready] = {}
    with catalog.without_waiting():
        for schedule in schedules.select_related("instance"):
            if (launch := ready_one(schedule)) is not None:
                ready[schedule.pk] = launch
    return ready


def ready_one(schedule: Schedule) -> Ready | None:
    """Prepare the launch of one schedule; None if it is undecided right now. Not within a transaction."""
    basis = basis_of(schedule)
    try:
        return Ready(basis, prepared(schedule))
    except LaunchPostponed as error:
        logger.info("Schedule %s waits for the next tick: %s", schedule.name, error)
        return None
    except LaunchRefused as error:
        return Ready(basis, refusal=f"Not launched: {error}")
    except DatabaseError:
        raise
    except Exception as error:  # an exception of a validator affects this schedule only
        logger.exception("Schedule %s cannot be prepared", schedule.name)
        return Ready(basis, refusal=f"Not launched: {type(error).__name__}: {error}")


def prepared(schedule: Schedule) -> launch_order.Order:
    """Look up and validate what the schedule launches. Raises LaunchRefused."""
    return launch_order.prepare(
        _target(schedule),
        configuration=schedule.configuration,
        limits=schedule.limits,
        queue=schedule.queue or None,
        priority=schedule.priority,
    )


def _target(schedule: Schedule) -> Any:
    """Return its instance, by name if it was deleted and created again; or else its experiment."""
    if not schedule.instance_name:
        return launch_order.find_experiment(schedule.experiment)
    if schedule.instance is None:
        schedule.instance = Instance.objects.filter(name=schedule.instance_name).first()
    if schedule.instance is None:
        raise LaunchRefused(f"its instance {schedule.instance_name} no longer exists; create it, or choose another")
    return schedule.instance
