"""Chaos itself: short campaigns with fixed seeds hold, on a throwaway stack and on a user's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from athanor.embedded.server import ServerMissing
from tests.chaos import MANAGE, chaos, clean_environ, throwaway
from tests.conftest import miss
from tests.servers import free_port, postgres_folder, unprivileged
from tests.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]


@pytest.mark.parametrize(("database", "seed"), [("sqlite", 11), ("postgresql", 12)])
def test_everything_holds_for_half_a_minute_of_faults(database: str, seed: int) -> None:
    if database == "postgresql":
        try:
            postgres_folder()
            unprivileged()
        except ServerMissing as missing:
            miss(missing)

    answer = throwaway("--workers=2", "--duration=30", f"--seed={seed}", f"--database={database}", "--schedules=10")

    assert answer.code == 0, (answer.broken, answer.document.get("invariants"), answer.stderr[-3000:])
    assert answer.document["database"] == database
    assert answer.document["faults"] >= 6
    assert len(answer.document["done"]) >= 5
    assert answer.document["runs"]["completed"] >= 10


@contextmanager
def up(folder: Path) -> Iterator[dict[str, str]]:
    """A user's own stack, with leases that are short; its environment."""
    environ = {"ATHANOR_VAR": str(folder / "var"), "ATHANOR_RUNS_LEASE_S": "7"}
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(MANAGE), "up", "--no-demo", "--workers=2", f"--port={free_port()}"],
            env=clean_environ(**environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            wait_until(lambda: "Athanor is up" in (folder / "up.log").read_text(), timeout_s=90, what="the stack")
            yield environ
        finally:
            process.terminate()
            process.wait(60)


def test_a_users_own_stack_is_met_only_by_what_it_can_bear(short_folder: Path) -> None:
    with up(short_folder) as environ:
        assert chaos("--duration=5", **environ).code == 2  # nobody is there to say yes
        answer = chaos("--yes", "--only=kill_child,kill_worker,move_clock", "--duration=12", "--every=3", **environ)

    assert answer.code == 0, (answer.broken, answer.document.get("invariants"), answer.stderr[-3000:])
    assert answer.document["runs"]["completed"] >= 5
    assert "move_clock" not in answer.document["done"] | answer.document["skipped"]
