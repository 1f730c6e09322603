"""System checks of the settings' relations. Stable ids, each with a hint."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from runs.conf import runs_settings


@register()
def lease_outlives_heartbeats(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001  # Django's signature
    """A lease must survive two missed heartbeats and end after the moment at which its worker gives up."""
    conf = runs_settings()
    found: list[CheckMessage] = []
    if conf.lease_s < conf.lease_margin_s + 2 * conf.heartbeat_s:
        found.append(
            Error(
                f"lease_s ({conf.lease_s:g}) is shorter than lease_margin_s plus two heartbeats"
                f" ({conf.lease_margin_s + 2 * conf.heartbeat_s:g}): one slow renewal would end healthy runs.",
                hint="Raise ATHANOR_RUNS['lease_s'] or lower heartbeat_s.",
                id="runs.E001",
            )
        )
    return found
