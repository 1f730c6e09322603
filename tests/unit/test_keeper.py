"""Keeper of the fork server: small, since it must outlive the server's imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runs.forkserver.keeper import SIGNALLED, killed_by

ROOT = Path(__file__).parents[2]
MODULES = "import runs.forkserver.keeper, sys; print(*{name.partition('.')[0] for name in sys.modules})"
HEAVY = {"athanor", "celery", "django", "experiments", "kombu", "msgspec", "psutil", "pydantic", "redis"}


def test_the_keeper_loads_no_django_no_celery_and_nothing_of_theirs() -> None:
    command = [sys.executable, "-c", MODULES]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split())
    assert "runs" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("status", "number"), [(0, None), (1, None), (127, None), (-9, 9), (SIGNALLED + 9, 9), (SIGNALLED + 40, 40)]
)
def test_the_signal_that_ended_keeper_or_server(status: int, number: int | None) -> None:
    assert killed_by(status) == number
