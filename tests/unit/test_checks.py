"""Settings that do not fit together are told before anything runs on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runs.checks import lease_outlives_heartbeats, lines_are_authenticated


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, []),
        ({"lease_s": 6, "lease_margin_s": 3, "heartbeat_s": 2}, ["runs.E001"]),
        ({"lease_s": 7, "lease_margin_s": 3, "heartbeat_s": 2}, []),
        ({"lease_margin_s": 0.5}, ["runs.E002"]),
        ({"reconcile_every_s": 10}, ["runs.W001"]),
    ],
)
def test_the_times_of_leases_fit_together(
    configure: Callable[..., None], values: dict[str, float], found: list[str]
) -> None:
    configure(**values)
    assert [message.id for message in lease_outlives_heartbeats(None)] == found


@pytest.mark.parametrize("accepted", [True, False])
def test_lines_without_a_code_are_reported_before_a_deployment(configure: Callable[..., None], accepted: bool) -> None:
    configure(accept_unsigned=accepted)
    assert [message.id for message in lines_are_authenticated(None)] == ["runs.W002"] * accepted
