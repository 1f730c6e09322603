"""Figures of the benchmarks: medians, ratios, targets and what is derived from attempts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import report, spread
from benchmarks.figures import Beside, Figure, Report, at_least, at_most, ratio_at_least, ratio_at_most
from benchmarks.machine import ROOT
from benchmarks.scripts import SCRIPTS

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    figure = Figure("a", "ms", [10, 20, 90], Beside("b", [10, 10, 10]))
    assert (figure.value, figure.ratio) == (20, 2)


def test_a_target_on_a_ratio_needs_a_reference() -> None:
    assert Figure("a", "ms", [5], target=ratio_at_most(0.75)).is_met is None
    assert Figure("a", "ms", [5], Beside("b", [10]), ratio_at_most(0.75)).is_met
    assert not Figure("a", "ms", [5], Beside("b", [10]), ratio_at_least(1.1)).is_met


@pytest.mark.parametrize(
    ("value", "target", "is_met"),
    [(2, at_most(2), True), (3, at_most(2), False), (2, at_least(2), True), (1, at_least(2), False)],
)
def test_a_target_on_a_value_includes_its_limit(value: float, target: object, is_met: bool) -> None:
    assert Figure("a", "ms", [value], target=target).is_met is is_met  # type: ignore[arg-type]  # as parametrized


def test_a_result_is_written_and_printed_as_markdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    made = Report("some-sqlite", rounds=2)
    made.add("launches", "runs/s", [900, 1100], beside=Beside("RQ", [2000, 2000]), target=at_least(1000))
    path = made.finish()
    assert {"cpu", "cores", "memory_gib", "kernel", "python", "commit"} <= json.loads(path.read_text())[
        "machine"
    ].keys()
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["report"])
    report.main()
    expected = (
        "**`some`**, SQLite\n\n"
        + report.HEAD
        + "\n| launches, runs/s | 1,000 (900–1,100) | 2,000, RQ | 0.50 × | ≥ 1,000 | met |"
    )
    assert expected in capsys.readouterr().out


def test_a_worker_is_idle_between_its_runs_and_until_the_last_claim_of_any() -> None:
    def ran(worker: int, first_s: float, last_s: float) -> spread.Executed:
        return worker, START + timedelta(seconds=first_s), START + timedelta(seconds=last_s)

    executed = [ran(1, 0, 5), ran(1, 1, 2), ran(1, 5.5, 9), ran(2, 0, 6), ran(2, 8, 9)]
    assert spread.longest_idle_s(executed) == 2
    assert spread.longest_idle_s([*executed, ran(3, 0, 4)]) == 4
    assert sorted(spread.shares(executed)) == [2, 3]


def test_each_script_is_listed_and_can_be_imported() -> None:
    names = {script.name for script in SCRIPTS}
    assert all(hasattr(import_module(f"benchmarks.{name}"), "main") for name in names)
    scripts = {path.stem for path in ROOT.glob("benchmarks/*.py") if "Report(" in path.read_text()}
    assert scripts - {"figures"} == names
