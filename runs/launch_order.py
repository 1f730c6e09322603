"""Turn a launch into a row of `Run`: look up, merge, validate. Shared by `services` and `schedules`.

Nothing here writes or sends anything.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connection
from pydantic import ValidationError

from experiments import Experiment, catalog
from experiments.catalog import Entry
from experiments.exceptions import CatalogUnavailable, ExperimentsError, InvalidDefinition, plain_message
from experiments.forms import keeping
from experiments.models import Instance
from experiments.retry import attempts_at_most, retries_in_force
from experiments.sealing import sealed
from runs.conf import SYSTEM_QUEUE
from runs.exceptions import LaunchPostponed, LaunchRefused
from runs.models import Run

NAME_MAX = 200
QUEUE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
PRIORITIES = range(-32768, 32768)
ORDERED = frozenset({"is_whole", "limits", "tags", "queue", "priority", "retries"})
"""Arguments of `services.launch` that are part of an order."""
SEED_MAX = 2**31 - 1
"""Largest seed that numpy, scikit-learn and torch all accept."""


@dataclass(frozen=True, slots=True)
class Order:
    """Launch with all its values resolved and merged."""

    experiment: Entry
    instance: Instance | None
    configuration: dict[str, Any]
    limits: dict[str, Any]
    tags: list[str]
    queue: str
    priority: int
    retries: dict[str, Any] = field(default_factory=dict)
    """Kind of failure → policy. Before `checked`, only the overrides of the launch."""


def resolve(target: str | Instance | type[Experiment] | Entry) -> tuple[Entry, Instance | None]:
    """Return the experiment, and the instance if `target` names or is one. Raises LaunchRefused."""
    if isinstance(target, Instance):
        return find_experiment(target.experiment), target
    if isinstance(target, str):
        instance = _instance(target)
        return find_experiment(instance.experiment if instance else target), instance
    return (target if isinstance(target, Entry) else find_experiment(target.name)), None


def _instance(name: str) -> Instance | None:
    """Return the instance with this name. Most launches have none, and need no more than a short query to know it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM experiments_instance WHERE name = %s", [name])
        row = cursor.fetchone()
    return Instance.objects.filter(pk=row[0]).first() if row else None


def find_experiment(name: str) -> Entry:
    """Return the experiment with this name. Raises LaunchRefused or LaunchPostponed."""
    try:
        return catalog.current().get(name)
    except CatalogUnavailable as error:
        raise LaunchPostponed(str(error)) from error
    except ExperimentsError as error:
        raise LaunchRefused(str(error), {"experiment": str(error)}) from error


def prepare(  # noqa: PLR0913  # as services.launch
    target: str | Instance | type[Experiment] | Entry,
    *,
    configuration: Mapping[str, Any] | None = None,
    is_whole: bool = False,
    limits: Mapping[str, Any] | None = None,
    tags: Iterable[str] = (),
    queue: str | None = None,
    priority: int | None = None,
    retries: Mapping[str, Any] | None = None,
) -> Order:
    """Override the values of the experiment and the instance with those of the launch; see `services.launch`.

    Raises LaunchRefused with all problems at once.
    """
    experiment, instance = resolve(target)
    configuration, tags = dict(configuration or {}), list(tags)
    if instance is None:
        queue = queue or experiment.queue
        return checked(
            Order(experiment, None, configuration, dict(limits or {}), tags, queue, priority or 0, dict(retries or {}))
        )
    return checked(
        Order(
            experiment,
            instance,
            configuration if is_whole else _overridden(experiment, instance, configuration),
            {**instance.limits, **(limits or {})},
            list(dict.fromkeys([*instance.tags, *tags])),
            queue or instance.queue or experiment.queue,
            instance.priority if priority is None else priority,
            dict(retries or {}),
        )
    )


def _overridden(experiment: Entry, instance: Instance, over: Mapping[str, Any]) -> dict[str, Any]:
    configuration, not_kept = overridden(experiment, instance.configuration, over)
    if not_kept:
        raise refused({f"configuration.{path}": keeping.GIVE_AGAIN for path in not_kept})
    return configuration


def overridden(
    experiment: Entry, base: Mapping[str, Any], over: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[str]]:
    """Return `overlay(base, over)`, and the paths of secrets of `base` that it may not keep: their models change."""
    if not over or not experiment.form.is_secretive:
        return overlay(base, over), ()
    lent = keeping.lent(catalog.masked(experiment.name, base), base)
    merged = keeping.apart(experiment.form, dict(over), overlay(lent, over))
    configuration, not_kept = keeping.merged(experiment.form, merged, base)
    return configuration, [kept.path for kept in not_kept]


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; mappings in both are merged, anything else is replaced. Pure."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = overlay(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def checked(order: Order) -> Order:
    """Validate the order; fill in defaults and all limits. Raises LaunchRefused."""
    if order.queue == SYSTEM_QUEUE:
        raise refused({"queue": f"{SYSTEM_QUEUE!r} is Athanor's own queue and takes no runs. Use another one."})
    if not QUEUE.fullmatch(order.queue):
        raise refused(
            {"queue": f"Invalid queue {order.queue[:60]!r}. Use letters, digits, `_`, `-` and `.`, at most 100."}
        )
    if order.priority not in PRIORITIES:
        raise refused({"priority": f"Must be from {PRIORITIES[0]} to {PRIORITIES[-1]}, not {order.priority}."})
    try:
        definition = catalog.validate(order.experiment.name, order.configuration, order.limits, order.tags)
        limits = order.experiment.limits.overridden(definition.limits)
    except CatalogUnavailable as error:
        raise LaunchPostponed(str(error)) from error
    except InvalidDefinition as error:
        raise refused(error.problems) from error
    except ValidationError as error:
        raise refused({".".join(("limits", *map(str, e["loc"]))): plain_message(e) for e in error.errors()}) from error
    return replace(
        order,
        configuration=sealed(definition.configuration, definition.secrets),
        limits=limits.model_dump(),
        tags=definition.tags,
        retries=checked_retries(order.experiment, order.retries),
    )


def checked_retries(experiment: Entry, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Kind of failure → policy, as it is stored. Raises LaunchRefused."""
    try:
        return retries_in_force(
            experiment.retries, overrides, on_lost=experiment.on_lost, max_attempts=experiment.max_attempts
        )
    except ValidationError as error:
        raise refused({".".join(("retries", *map(str, e["loc"]))): plain_message(e) for e in error.errors()}) from error


def check_name(name: str) -> str:
    """Validate a name and return it as it is stored. Raises LaunchRefused."""
    if len(name) > NAME_MAX or not name.isprintable():
        raise refused({"name": f"Must be one line of at most {NAME_MAX} characters."})
    return name.strip()


def choose_seed(seed: int | None = None) -> int:
    """Return the given seed, or a random one. Raises LaunchRefused."""
    if seed is None:
        return secrets.randbelow(SEED_MAX)
    if not 0 <= seed <= SEED_MAX:
        raise refused({"seed": f"Must be a whole number from 0 to {SEED_MAX}, not {seed}."})
    return seed


def refused(problems: Mapping[str, str]) -> LaunchRefused:
    return LaunchRefused("; ".join(f"{path}: {message}" for path, message in problems.items()), dict(problems))


def new_run(order: Order, **values: Any) -> Run:
    """Build the run without saving it; `values` are the columns that an order does not have."""
    return Run(
        experiment=order.experiment.name,
        instance=order.instance,
        configuration=order.configuration,
        limits=order.limits,
        tags=order.tags,
        queue=order.queue,
        priority=order.priority,
        on_lost=order.experiment.on_lost,
        max_attempts=attempts_at_most(order.retries),
        retries=order.retries,
        **values,
    )


def columns(order: Order, *, name: str = "", seed: int | None = None, **given: Any) -> dict[str, Any]:
    """Return the columns of a launch that an order does not have; `by` and `via` are its user and its origin.

    Raises LaunchRefused.
    """
    by, via = given.pop("by", None), given.pop("via", "python")
    own_name = check_name(name) or (order.instance.name if order.instance else "")
    return {"name": own_name, "seed": choose_seed(seed), "launched_by": by, "launched_via": via, **given}


def new_runs(
    target: str | Instance | type[Experiment] | Entry, configurations: Iterable[Mapping[str, Any]], **common: Any
) -> list[Run]:
    """Build one run for each configuration without saving it. `common` are arguments of `services.launch`.

    Raises LaunchRefused with the problems of all, each path with the index of its configuration.
    """
    experiment, instance = resolve(target)
    about_order = {name: common.pop(name) for name in ORDERED if name in common}
    runs: list[Run] = []
    problems: dict[str, str] = {}
    for index, configuration in enumerate(configurations):
        try:
            order = prepare(instance or experiment, configuration=configuration, **about_order)
            runs.append(new_run(order, **columns(order, **common)))
        except LaunchPostponed:
            raise
        except LaunchRefused as error:
            problems |= {f"{index}.{path}": text for path, text in error.problems.items()}
    if problems:
        raise refused(problems)
    return runs


def of_run(run: Run) -> Order:
    """Order an earlier run once more. Raises LaunchRefused if its experiment is gone."""
    return Order(
        find_experiment(run.experiment),
        run.instance,
        dict(run.configuration),
        dict(run.limits),
        list(run.tags),
        run.queue,
        run.priority,
        dict(run.retries),
    )
