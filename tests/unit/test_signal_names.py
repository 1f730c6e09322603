"""Names of signals, for every number."""

from __future__ import annotations

import signal

import pytest

from experiments.signal_names import signal_name


@pytest.mark.parametrize(
    ("number", "name"),
    [(9, "SIGKILL"), (11, "SIGSEGV"), (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}"), (200, "signal 200")],
)
def test_every_number_has_a_name(number: int, name: str) -> None:
    assert signal_name(number) == name
