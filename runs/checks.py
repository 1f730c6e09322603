"""System checks of relations between settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004  # Django's name

from runs.conf import runs_settings
from runs.forkserver.account import AccountUnusable, find

KILLING_S = 1.0
"""Longest time that killing all children of a worker may take."""
LATE_S = 5.0
"""Longest time from the expiry of a lease to the recovery of its run."""


@register()
def lease_outlives_heartbeats(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001  # Django's signature
    """Check that a lease survives two missed heartbeats, and leaves time to kill the children before it expires."""
    conf = runs_settings()
    messages: list[CheckMessage] = []
    if conf.lease_s < conf.lease_margin_s + 2 * conf.heartbeat_s:
        messages.append(
            Error(
                f"lease_s ({conf.lease_s:g}) is shorter than lease_margin_s plus two heartbeats"
                f" ({conf.lease_margin_s + 2 * conf.heartbeat_s:g}): one slow renewal would end healthy runs.",
                hint="Raise ATHANOR_RUNS['lease_s'] or lower heartbeat_s.",
                id="runs.E001",
            )
        )
    if conf.lease_margin_s < KILLING_S:
        messages.append(
            Error(
                f"lease_margin_s ({conf.lease_margin_s:g}) is shorter than {KILLING_S:g} s: children of a worker that"
                " could not renew would still be dying when another worker starts their runs.",
                hint="Raise ATHANOR_RUNS['lease_margin_s'].",
                id="runs.E002",
            )
        )
    if conf.reconcile_every_s > LATE_S:
        messages.append(
            Warning(
                f"reconcile_every_s ({conf.reconcile_every_s:g}) is longer than {LATE_S:g} s: runs of a lost host"
                f" stay running for longer than their lease plus {LATE_S:g} s.",
                hint="Lower ATHANOR_RUNS['reconcile_every_s'].",
                id="runs.W001",
            )
        )
    return messages


@register()
def accounts_can_be_used(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001  # as above
    """Check that the Unix accounts of run_as exist and are separate from the user of Athanor."""
    messages: list[CheckMessage] = []
    conf = runs_settings()
    for name in dict.fromkeys(rule.account for rule in conf.run_as):
        try:
            find(name, conf.var)
        except AccountUnusable as error:
            messages.append(
                Error(
                    f"Runs cannot use the account {name!r} of run_as: {error}.",
                    hint="Set ATHANOR_RUNS_RUN_AS to a Unix user that is used for runs only.",
                    id="runs.E003",
                )
            )
    return messages


@register(deploy=True)
def lines_are_authenticated(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001  # as above
    """Check that lines without an authentication code are refused. Accepting them is for upgrades only."""
    if not runs_settings().accept_unsigned:
        return []
    return [
        Warning(
            "accept_unsigned is on: anyone who can write to Redis can add lines and results to runs.",
            hint="Unset ATHANOR_RUNS_ACCEPT_UNSIGNED when all workers are upgraded.",
            id="runs.W002",
        )
    ]
