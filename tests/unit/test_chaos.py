"""Pure parts of chaos: plan, journals, samples, and the protections that can be disabled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from athanor.chaos import journal, place
from athanor.chaos.journal import Journal
from athanor.chaos.load import PROBE, configuration
from athanor.chaos.patches.protections import PROTECTIONS
from athanor.chaos.plan import Spec, planned
from athanor.chaos.probe import advanced, expected
from athanor.chaos.sampling import RunState, Samples
from athanor.experiments import ChaosProbe
from experiments.registry import registry
from runs.lines.buffer import Stream
from runs.states import AttemptKey

SPECS = {"often": Spec(weight=3), "rare": Spec(), "long": Spec(shortest_s=2, longest_s=4)}


def test_one_seed_is_one_plan() -> None:
    assert planned(SPECS, seed=4, duration_s=60, every_s=2) == planned(SPECS, seed=4, duration_s=60, every_s=2)
    assert planned(SPECS, seed=4, duration_s=60, every_s=2) != planned(SPECS, seed=5, duration_s=60, every_s=2)


def test_a_plan_has_every_fault_by_its_weight_and_is_quiet_at_the_end() -> None:
    plan = planned(SPECS, seed=1, duration_s=600, every_s=2)
    counts = Counter(one.fault for one in plan)
    assert 250 <= len(plan) <= 350
    assert abs(counts["often"] - 3 * counts["rare"]) <= 3
    assert all(2 <= one.length_s <= 4 for one in plan if one.fault == "long")
    assert plan[-1].at_s < 570
    assert planned({}, seed=1, duration_s=60, every_s=2) == []


def test_a_journal_tells_what_each_attempt_did(tmp_path: Path) -> None:
    first = Journal(tmp_path, 1)
    first.begin(0)
    first.mark("saying", lines=5, results=1)
    first.mark("said", lines=5, results=1)
    first.mark("saying", lines=10, results=2)
    first.mark("kept", step=1)
    Journal(tmp_path, 2).begin(1)  # while the first one lives
    with (tmp_path / journal.JOURNAL).open("a") as cut:
        cut.write('{"mark": "sta')

    by_attempt = journal.read(tmp_path)

    assert (by_attempt[1].lines_min, by_attempt[1].lines_max, by_attempt[1].kept, by_attempt[1].overlaps) == (
        5,
        10,
        1,
        0,
    )
    assert (by_attempt[2].restored, by_attempt[2].overlaps) == (1, 1)
    assert by_attempt[1].last_at <= by_attempt[2].begun_at[0]
    assert journal.read(tmp_path / "nowhere") == {}


def test_an_end_that_changes_is_noticed() -> None:
    samples = Samples()
    completed, failed = RunState("completed", "", "now", 2, None, ""), RunState("failed", "lost", "now", 2, None, "")
    samples.observe({1: RunState("running", "", None, 1, None, ""), 2: completed})
    samples.observe({1: completed, 2: completed})
    assert samples.changes == []
    samples.observe({2: failed})
    assert samples.changes == ["run 2 was completed by attempt 2, and later failed (lost) by attempt 2"]


def test_a_status_that_attempts_contradict_is_noticed() -> None:
    samples = Samples()
    samples.compare({1: ("running", True), 2: ("pending", False), 3: ("completed", False)})
    assert samples.disagreements == []
    samples.compare({1: ("pending", True), 2: ("running", False)})
    assert len(samples.disagreements) == 2


def test_redis_owes_nothing_after_a_wipe() -> None:
    samples, key = Samples(), AttemptKey(1, 1)
    samples.take(lambda: [(key, Stream.LINES, 7)])
    samples.take(lambda: [(key, Stream.LINES, 5)])
    assert samples.taken == {(key, Stream.LINES): 7}
    samples.forget(lambda: None)
    assert samples.taken == {}


def test_an_undisturbed_result_is_that_of_any_two_parts() -> None:
    half = advanced(advanced("9", 0), 1)
    assert expected(9, 3) == {"steps": 3, "digest": advanced(half, 2)}


def test_every_configuration_that_chaos_launches_is_accepted() -> None:
    dice = random.Random(1)
    for _ in range(50):
        ChaosProbe.Config.model_validate(configuration(dice))


def test_the_probe_is_found_and_not_offered() -> None:
    assert registry().get(PROBE).hidden
    assert PROBE not in registry().names
    assert PROBE not in [experiment.name for experiment in registry().all()]


def test_a_place_has_nothing_of_the_users_own_stack(tmp_path: Path) -> None:
    environ = {"ATHANOR_REDIS_URL": "redis://theirs", "CHAOS_WITHOUT": "fencing", "HOME": "/home/ada"}
    environment = place.environment(tmp_path, "sqlite", environ)
    assert environment["HOME"] == "/home/ada"
    assert environment["CHAOS_WITHOUT"] == "fencing"
    assert "ATHANOR_REDIS_URL" not in environment
    assert environment["ATHANOR_VAR"] == str(tmp_path / "var")
    assert place.environment(tmp_path, "postgresql", environ)["ATHANOR_DATABASE_URL"].startswith("postgresql://")


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_every_protection_can_be_taken_away_from_outside(protection: str) -> None:
    modules = ", ".join(PROTECTIONS[protection])
    program = f"import django; django.setup(); import {modules}; print('patched')"
    environ = place.environment(Path("unused"), "sqlite", os.environ | {"CHAOS_WITHOUT": protection})
    environ["ATHANOR_VAR"] = os.environ["ATHANOR_VAR"]
    answer = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.stderr) == ("patched\n", "")
