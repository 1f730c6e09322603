"""Chaos itself: a short campaign with fixed seeds holds, and with any protection switched off it does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from athanor.embedded.server import ServerMissing
from runs.protections import PROTECTIONS
from tests.conftest import miss
from tests.servers import free_port, postgres_folder, unprivileged
from tests.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]

MANAGE = Path(__file__).parent.parent.parent / "manage.py"


@dataclass(frozen=True)
class Answer:
    """What the command answered."""

    code: int
    document: dict[str, Any]
    stderr: str

    def forget(self) -> None:
        """Remove what was kept because something was expectedly broken."""
        for folder in re.findall(r"kept in (/tmp/athanor-chaos-\S+)", self.stderr):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def broken(self) -> set[str]:
        return {name for name, found in self.document["invariants"].items() if not found["holds"]}


def chaos(*arguments: str, **environ: str) -> Answer:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATHANOR_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, str(MANAGE), "chaos", "--json", *arguments],
        env=clean | environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    return Answer(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def throwaway(*arguments: str, **environ: str) -> Answer:
    return chaos("--throwaway", *arguments, **environ)


@pytest.mark.parametrize(("database", "seed"), [("sqlite", 11), ("postgresql", 12)])
def test_everything_holds_for_a_minute_of_faults(database: str, seed: int) -> None:
    if database == "postgresql":
        try:
            postgres_folder()
            unprivileged()
        except ServerMissing as missing:
            miss(missing)

    answer = throwaway("--workers=2", "--duration=60", f"--seed={seed}", f"--database={database}", "--schedules=10")

    assert answer.code == 0, (answer.broken, answer.document.get("invariants"), answer.stderr[-3000:])
    assert answer.document["database"] == database
    assert answer.document["faults"] >= 20
    assert len(answer.document["done"]) >= 15
    assert answer.document["runs"]["completed"] >= 20


@dataclass(frozen=True)
class Scenario:
    """What a protection protects from, and what is broken without it: one of these at least."""

    faults: str
    broken: set[str]
    more: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        return f"--only={self.faults}", "--duration=15", "--every=1.5", "--patience=20", "--seed=1", *self.more


APART = ("--workers=3", "--every=5", "--duration=20")
"""A frozen worker's runs are taken over by another one, which is not frozen meanwhile."""
SCENARIOS = {
    "lease_deadline": Scenario("freeze_worker", {"one_execution"}, APART),
    "fencing": Scenario("freeze_worker", {"agreed"}, APART),
    "idempotent_rows": Scenario("kill_child", {"ended", "taken"}),
    "trim_check": Scenario("kill_worker,flood", {"in_order"}),
    "tree_kill": Scenario("kill_worker,cancel_run", {"no_process", "one_execution"}),
    "replay": Scenario("wipe_redis", {"in_order", "complete"}),
    "final_drain": Scenario("kill_child", {"complete"}),
    "recovery": Scenario("kill_worker", {"ended"}),
    "resend": Scenario("lose_messages", {"ended"}),
}


def test_every_protection_has_its_scenario() -> None:
    assert SCENARIOS.keys() == PROTECTIONS.keys()


@pytest.mark.parametrize("protection", SCENARIOS)
def test_without_a_protection_something_is_broken(protection: str) -> None:
    answer = throwaway(*SCENARIOS[protection].arguments, ATHANOR_TEST_WITHOUT=protection)

    assert answer.code == 1, answer.stderr[-3000:]
    assert answer.broken & SCENARIOS[protection].broken, (answer.broken, answer.document["invariants"])
    answer.forget()


def test_with_all_protections_the_same_scenarios_hold() -> None:
    faults = ",".join(sorted({name for scenario in SCENARIOS.values() for name in scenario.faults.split(",")}))

    answer = throwaway(f"--only={faults}", "--duration=30", "--every=1", "--seed=1")

    assert answer.code == 0, (answer.broken, answer.document.get("invariants"), answer.stderr[-3000:])


@contextmanager
def up(folder: Path) -> Iterator[dict[str, str]]:
    """A user's own stack, with leases that are short; its environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATHANOR_", "DJANGO_"))}
    environ = {"ATHANOR_VAR": str(folder / "var"), "ATHANOR_RUNS_LEASE_S": "7"}
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(MANAGE), "up", "--no-demo", "--workers=2", f"--port={free_port()}"],
            env=clean | environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
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


def test_it_is_not_begun_where_production_is_declared(short_folder: Path) -> None:
    answer = chaos("--yes", ATHANOR_PRODUCTION="1", ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert "production" in answer.stderr


def test_it_is_not_begun_where_nothing_is_up(short_folder: Path) -> None:
    answer = chaos("--yes", ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert "Nothing is up" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--only=kill_wroker"], "kill_worker"), (["--duration=1"], "--duration"), (["--workers=0"], "--workers")],
)
def test_wrong_use_is_told(short_folder: Path, arguments: list[str], said: str) -> None:
    answer = chaos("--throwaway", *arguments, ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert said in answer.stderr


def test_no_protection_can_be_switched_off_in_production(short_folder: Path) -> None:
    answer = chaos("--list", ATHANOR_PRODUCTION="1", ATHANOR_TEST_WITHOUT="fencing", ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert "ATHANOR_TEST_WITHOUT is for tests" in answer.stderr
