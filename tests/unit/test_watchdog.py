"""When a worker that takes no work is deaf, and when there is a reason."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runs.worker.watchdog import Deafness, Look


def first_found(looks: Sequence[Look], *, patience_s: float = 3.0) -> int | None:
    """Index of the look, one a second, at which it is found deaf."""
    deafness = Deafness(patience_s)
    return next((n for n, look in enumerate(looks) if deafness.found(look, now=float(n))), None)


def test_a_worker_that_leaves_messages_alone_for_its_patience_is_deaf() -> None:
    assert first_found([Look(7, 2, 5)] * 10) == 4


@pytest.mark.parametrize(
    "looks",
    [
        [Look(7, 0, 5)] * 10,
        [Look(7, 2, 0)] * 10,
        [Look(n, 2, 5) for n in range(10)],
        [Look(7, 2, 5), Look(7, 2, 5), Look(7, 2, 0)] * 4,
    ],
    ids=["busy", "no message", "takes some", "messages come and go"],
)
def test_a_worker_with_a_reason_is_not(looks: list[Look]) -> None:
    assert first_found(looks) is None


def test_patience_begins_anew_after_a_message() -> None:
    assert first_found([Look(7, 2, 5)] * 3 + [Look(8, 2, 5)] * 10) == 3 + 4
