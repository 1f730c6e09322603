"""Consumer without messages: stalled, or idle for a reason."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runs.worker.watchdog import Sample, StallDetector


def first_stalled(samples: Sequence[Sample], *, patience_s: float = 3.0) -> int | None:
    """Index of the sample, one a second, by which the consumer is stalled."""
    detector = StallDetector(patience_s)
    return next((n for n, sample in enumerate(samples) if detector.is_stalled(sample, now=float(n))), None)


def test_a_worker_that_leaves_messages_alone_for_its_patience_is_stalled() -> None:
    assert first_stalled([Sample(7, 2, 5)] * 10) == 4


@pytest.mark.parametrize(
    "samples",
    [
        [Sample(7, 0, 5)] * 10,
        [Sample(7, 2, 0)] * 10,
        [Sample(n, 2, 5) for n in range(10)],
        [Sample(7, 2, 5), Sample(7, 2, 5), Sample(7, 2, 0)] * 4,
    ],
    ids=["busy", "no message", "takes some", "messages come and go"],
)
def test_a_worker_with_a_reason_is_not(samples: list[Sample]) -> None:
    assert first_stalled(samples) is None


def test_patience_begins_anew_after_a_message() -> None:
    assert first_stalled([Sample(7, 2, 5)] * 3 + [Sample(8, 2, 5)] * 10) == 3 + 4
