"""Check a launch against the access rules. Permissions are checked by the callers of `runs.services`."""

from __future__ import annotations

from typing import Any

from runs.exceptions import LaunchRefused
from runs.launch_order import Order
from runs.models import rights


def check(user: Any, order: Order, *, is_unchanged: bool) -> None:
    """Raise LaunchRefused unless the rules let the user launch. Without a user, everything is allowed.

    `is_unchanged`: the launch is of an instance or an earlier run, without changes.
    """
    check_names(user, order.experiment.name, order.queue, is_unchanged=is_unchanged)


def check_names(user: Any, experiment: str, queue: str, *, is_unchanged: bool) -> None:
    """Check a launch like `check`, by the names of its experiment and queue."""
    rules = rights.of(user)
    if not rules.allow("launch", experiment, queue):
        raise LaunchRefused(f"The access rules do not let {user} launch {experiment} in queue {queue}.")
    if not is_unchanged and not rules.allow("configure", experiment, queue):
        raise LaunchRefused(
            f"The access rules do not let {user} change the configuration of {experiment} in queue {queue}. Launch one"
            " of its instances unchanged."
        )
