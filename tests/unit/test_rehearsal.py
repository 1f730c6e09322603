"""A rehearsal, which leaves nothing behind."""

from __future__ import annotations

import sys

import pytest

import runs.child
from experiments.remembered import known_candidates
from experiments.source import source_digest
from runs.child import rehearsal
from runs.child.rehearsal import rehearse


def test_a_rehearsal_runs_to_its_end_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    digests: list[str] = []
    monkeypatch.setattr(rehearsal, "source_digest", lambda experiment: digests.append(source_digest(experiment)))
    known_candidates()  # makes the folders of experiments importable
    before, path = set(sys.modules), list(sys.path)
    rehearse()

    assert [len(text) for text in digests] == [64]
    assert not hasattr(runs.child, "rehearsed")
    assert (set(sys.modules) - before, sys.path) == (set(), path)


def test_a_rehearsal_that_fails_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "known_candidates", lambda: 1 / 0)

    rehearse()
