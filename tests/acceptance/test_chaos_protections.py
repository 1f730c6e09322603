"""With any protection switched off a campaign of chaos fails; with all of them on, the same one holds.

`make test-recovery` tries every protection, `make test` a third of them, which changes each day.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from athanor.chaos.patches.protections import PROTECTIONS
from tests.chaos import throwaway

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]


@dataclass(frozen=True)
class Scenario:
    """Faults that a protection covers, and invariants of which at least one breaks without it."""

    faults: str
    broken: set[str]
    more: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        return f"--only={self.faults}", "--duration=12", "--every=1.5", "--patience=10", *self.more


APART = ("--workers=3", "--every=5", "--duration=20")
"""A frozen worker's runs are taken over by another one, which is not frozen meanwhile."""
SMALL_TURNS = {"ATHANOR_RUNS_FLUSH_BATCH": "50"}
"""A long list takes so many turns that two flushers meet there; where its supervisor was killed, nobody sends again."""
SEEDS = (1, 2, 3)
"""A fault that comes at a lucky moment breaks nothing: another campaign is tried then."""
SCENARIOS = {
    "lease_deadline": Scenario("freeze_worker", {"one_execution"}, APART),
    "fencing": Scenario("freeze_worker", {"agreed"}, APART),
    "idempotent_rows": Scenario("kill_child", {"ended", "taken"}),
    "trim_check": Scenario(
        "kill_worker,flood,double_beat,double_system", {"in_order", "taken"}, ("--every=1",), SMALL_TURNS
    ),
    "tree_kill": Scenario("kill_worker,cancel_run", {"no_process", "one_execution"}),
    "replay": Scenario("wipe_redis", {"in_order", "complete"}),
    "final_drain": Scenario("kill_child", {"complete"}),
    "recovery": Scenario("kill_worker", {"ended"}),
    "resend": Scenario("lose_messages", {"ended"}),
}


SHARE = 3
"""A run of the suite takes one of so many parts, by the day, since a campaign takes a minute."""
FIRST = datetime.now(UTC).toordinal() % SHARE
TODAY = list(SCENARIOS) if os.environ.get("TEST_ALL_CAMPAIGNS") else list(SCENARIOS)[FIRST::SHARE]


def test_every_protection_has_its_scenario() -> None:
    assert SCENARIOS.keys() == PROTECTIONS.keys()


@pytest.mark.parametrize("protection", TODAY)
def test_without_a_protection_something_is_broken(protection: str) -> None:
    scenario = SCENARIOS[protection]

    for seed in SEEDS:
        answer = throwaway(*scenario.arguments, f"--seed={seed}", CHAOS_WITHOUT=protection, **scenario.environ)
        if answer.broken & scenario.broken:
            break

    assert answer.code == 1, answer.stderr[-3000:]
    assert answer.broken & scenario.broken, (answer.broken, answer.document["invariants"])
    answer.forget()


def test_with_all_protections_the_same_scenarios_hold() -> None:
    faults = ",".join(sorted({name for scenario in SCENARIOS.values() for name in scenario.faults.split(",")}))

    answer = throwaway(f"--only={faults}", "--duration=15", "--every=1", "--seed=1", **SMALL_TURNS)

    assert answer.code == 0, (answer.broken, answer.document.get("invariants"), answer.stderr[-3000:])
