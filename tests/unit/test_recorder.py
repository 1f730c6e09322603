"""Pending writes of an attempt, and writes that must not wait for others."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from runs.states import AttemptKey
from runs.supervisor import provenance
from runs.supervisor.recorder import Callbacks, Pending, RunRecords
from tests.waiting import wait_until


class Written(RunRecords):
    """Keeps what would be stored."""

    def __init__(self) -> None:
        super().__init__(AttemptKey(1, 1), Callbacks())
        self.stored: list[dict[str, Any]] = []

    def _store(self, taken: Pending) -> bool:
        self.stored.append(taken.columns)
        return True


def test_a_slow_git_keeps_no_other_write_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def slow(hello: dict[str, Any], file: Path) -> dict[str, str]:
        answers.wait(20)
        return {"git_commit": "abc"}

    monkeypatch.setattr(provenance, "complete", slow)
    records = Written()
    records.provenance({"source_file": "x.py"})
    records.mark(child_pid=5)
    records.write()
    assert records.stored == [{"child_pid": 5}]
    answers.set()
    records.wait_for_provenance()
    records.write()
    assert records.stored[-1] == {"provenance": {"git_commit": "abc"}}


def test_code_of_which_nothing_can_be_told_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "complete", lambda hello, file: Path("\0").stat())
    records = Written()
    records.provenance({"source_file": "\0"})
    records.wait_for_provenance()
    records.write()
    assert not records.pending


def test_a_checkpoint_that_is_waited_for_is_written_at_once() -> None:
    hurried = threading.Event()
    records = RunRecords(AttemptKey(1, 1), Callbacks(hurry=hurried.set))
    records.checkpoint({"id": 1, "sync": False, "state": {}})
    assert not hurried.is_set()
    records.checkpoint({"id": 2, "sync": True, "state": {}})
    wait_until(hurried.is_set, what="the hurry")
