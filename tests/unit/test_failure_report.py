"""Failure report: its content and its texts."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.limits import Limits
from runs.forkserver.client import Exit
from runs.outcomes import ProcessRow, Totals
from runs.recovery import failure_report
from runs.supervisor import stops
from runs.supervisor.outcome import Observation, outcome_of
from runs.supervisor.reporting import Evidence, failure_report_of
from runs.supervisor.stops import Action, Reason

LIMITS = Limits(timeout_s=5, memory_limit_bytes=2**30)
KILLED = Exit(None, 9, 1.5, 1, 0)


def observed(reason: Reason | None, **more: object) -> Observation:
    stop = stops.plan(reason, "It ran longer than 5 s", LIMITS, 0.0) if reason else None
    about = {"started": True, "last_sign_age_s": 1.23456, "last_line_age_s": 2.0}
    steps = frozenset({Action.KILL}) if stop else frozenset()
    return Observation(KILLED, None, stop=stop, steps_taken=steps, **about | more)  # type: ignore[arg-type]


def seen(folder: Path) -> Evidence:
    return Evidence(
        limits=LIMITS,
        start_timeout_s=60,
        stacks_file=folder / "stacks-1.txt",
        tail=[b'1:7:[1.5,20,"log","its last word",null]'],
        totals=Totals(2**30, 1.5),
        heartbeat_age_s=0.5,
    )


def test_a_run_that_met_its_limit_says_which(tmp_path: Path) -> None:
    (tmp_path / "stacks-1.txt").write_text("File x.py, line 3 in hang")
    observation = observed(Reason.TIMEOUT)
    found = failure_report_of(outcome_of(observation), observation, seen(tmp_path))
    assert found is not None
    assert (found["failure_kind"], found["signal"], found["limit"]) == ("timeout", 9, {"name": "timeout_s", "value": 5})
    assert (found["last_sign_age_s"], found["heartbeat_age_s"], found["last_progress_age_s"]) == (1.235, 0.5, None)
    assert [line["message"] for line in found["last_lines"]] == ["its last word"]
    assert "hang" in found["stacks"]
    told = " ".join(failure_report.sentences(dict(found)))
    assert "timeout_s of 5.0 s" in told
    assert "was killed" in told
    assert "last log line 2.0 s" in told


def test_a_limit_that_did_not_end_it_is_not_told(tmp_path: Path) -> None:
    observation = observed(None)
    found = failure_report_of(outcome_of(observation), observation, seen(tmp_path))
    assert found is not None
    assert (found["failure_kind"], found["limit"], found["asked_by"]) == ("crashed", None, "")


def test_a_run_that_ended_well_needs_none(tmp_path: Path) -> None:
    observation = Observation(Exit(0, None, 1.0, 1, 0), {"outcome": "returned"}, started=True)
    assert failure_report_of(outcome_of(observation), observation, seen(tmp_path)) is None


def test_certificates_of_other_versions_are_told_as_far_as_they_go() -> None:
    assert list(failure_report.sentences({})) == []
    assert list(failure_report.sentences({"of_tomorrow": 1, "steps": ["kill"]})) == ["The process was killed."]


def test_a_process_tree_is_told_by_its_shape() -> None:
    def seen_process(pid: int, parent: int) -> ProcessRow:
        return {"pid": pid, "parent": parent, "command": f"c{pid}", "memory_bytes": 1024, "cpu_seconds": 0.5}

    lines = list(
        failure_report.processes([seen_process(5, 1), seen_process(6, 5), seen_process(7, 6), seen_process(8, 5)])
    )
    assert [line.split(" (")[0] for line in lines] == ["5 c5", "  6 c6", "    7 c7", "  8 c8"]


def test_only_what_was_added_to_the_stacks_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stacks"
    file.write_text("old\n")
    file.write_text("old\nnew\n")
    assert failure_report.stacks_after(file, 4) == "new\n"
    assert failure_report.stacks_after(tmp_path / "none", 0) == ""


def test_anything_in_the_place_of_the_stacks_is_read_within_bounds(tmp_path: Path) -> None:
    pipe, folder, large = tmp_path / "pipe", tmp_path / "folder", tmp_path / "large"
    os.mkfifo(pipe)
    folder.mkdir()
    with large.open("wb") as file:
        file.truncate(10**10)
    for path in (pipe, folder, tmp_path / "none"):
        assert (failure_report.stacks(path), failure_report.stacks_after(path, 0)) == ("", "")
    assert len(failure_report.stacks(large)) == failure_report.STACKS_MAX_CHARS
