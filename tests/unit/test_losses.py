"""Restrictions on the next attempt of a run that was lost."""

from __future__ import annotations

import pytest

from runs.conf import RunsSettings
from runs.losses import Caution, caution

CONF = RunsSettings(
    lost_quick_s=600, lost_pause_s=5, lost_pause_max_s=300, lost_alone_s=10, lost_alone_max_s=600, lost_wait_s=900
)


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([], Caution()),
        ([2], Caution()),
        ([2, 2], Caution(pause_s=5, alone_s=10)),
        ([60, 2], Caution(pause_s=5, alone_s=120)),
        ([2, 60, 2], Caution(pause_s=10, alone_s=10)),
        ([599, 599], Caution(pause_s=5, alone_s=600)),
        ([2, 601, 2, 2], Caution()),
        ([601, 2, 2], Caution()),
        ([2] * 5, Caution(pause_s=40, alone_s=10)),
        ([2] * 2000, Caution(pause_s=300, alone_s=10)),
    ],
)
def test_quick_losses_in_a_row_pause_and_have_a_worker_to_themselves(durations: list[float], expected: Caution) -> None:
    assert caution(durations, CONF) == expected
