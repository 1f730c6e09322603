"""Writes of a running attempt: lines before its checkpoint, and nothing once another attempt has taken over."""

from __future__ import annotations

from typing import Any, cast

import pytest
from django.db import OperationalError

from runs.lines.records import ArtifactRecord, Progress
from runs.models import Artifact, Attempt, Checkpoint, Run
from runs.outcomes import Outcome
from runs.states import FailureKind, Status
from runs.supervisor.recorder import Callbacks, RunRecords
from runs.transitions import EndResult, end_attempt
from tests.factories import make_attempt, make_run

pytestmark = pytest.mark.django_db


class Heard:
    """What the recorder tells others."""

    def __init__(self, attempt: Attempt) -> None:
        self.acknowledged: list[int] = []
        self.said = 0
        self.refused: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self.records = RunRecords(
            attempt.key,
            Callbacks(
                stored=self.acknowledged.append,
                refused=lambda number, why: self.refused.append((number, why)),
                note=self.notes.append,
                hurry=lambda: None,
                store_output=self._store_output,
            ),
        )

    def _store_output(self) -> None:
        assert not Checkpoint.objects.exists()
        self.said += 1


@pytest.fixture
def heard() -> Heard:
    return Heard(make_attempt(make_run()))


def test_a_checkpoint_is_acknowledged_when_it_and_what_was_said_before_it_are_stored(heard: Heard) -> None:
    heard.records.checkpoint({"id": 3, "sync": True, "state": {"step": 1}})
    heard.records.write()
    assert (heard.said, heard.acknowledged) == (1, [3])
    assert Checkpoint.objects.get().state == {"step": 1}


def test_a_checkpoint_of_an_attempt_that_was_taken_over_is_dropped_and_not_acknowledged(heard: Heard) -> None:
    lost = Outcome(Status.FAILED, FailureKind.LOST, error="Its worker vanished.")
    assert end_attempt(heard.records.key, lost) is not EndResult.SUPERSEDED
    heard.records.checkpoint({"id": 3, "sync": True, "state": {"step": 1}})
    heard.records.write()
    assert (heard.said, heard.acknowledged) == (0, [])
    assert not Checkpoint.objects.exists()


def artifact(name: str, **values: Any) -> ArtifactRecord:
    record = {"name": name, "path": name, "size_bytes": 1, "sha256": "", "content_type": "text/plain"}
    return cast("ArtifactRecord", record | values)


REFUSED = {"size_bytes": 2**70}
"""What no database takes, past all checks of the record itself."""


def test_what_the_database_refuses_is_dropped_alone_and_a_line_says_so(heard: Heard) -> None:
    heard.records.mark(child_pid=5)
    heard.records.mark(provenance={1, 2})
    heard.records.progress(Progress(1.0, 2.0, "half"))
    for name, values in {"a": {}, "b": REFUSED, "c": {}}.items():
        heard.records.artifact(artifact(name, **values))
    heard.records.write()
    assert sorted(Artifact.objects.values_list("name", flat=True)) == ["a", "c"]
    assert (Attempt.objects.get().child_pid, Run.objects.get().progress_message) == (5, "half")
    assert [note.split(",")[0] for note in heard.notes] == [
        "The database refuses artifact 'b'",
        "The database refuses provenance",
    ]
    assert not heard.records.pending


def test_a_refused_checkpoint_is_told_to_the_experiment_that_waits_for_it(heard: Heard) -> None:
    state: dict[str, Any] = {"step": {1, 2}}
    heard.records.checkpoint({"id": 3, "sync": True, "state": state})
    heard.records.write()
    assert heard.acknowledged == []
    assert [number for number, _ in heard.refused] == [3]
    assert not Checkpoint.objects.exists()


def test_an_outage_keeps_everything_for_the_next_try(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    heard.records.checkpoint({"id": 3, "sync": True, "state": {"step": 1}})
    heard.records.artifact(artifact("a"))
    with monkeypatch.context() as patch:
        patch.setattr(heard.records, "_is_open", fail_as_an_outage)
        with pytest.raises(OperationalError):
            heard.records.write()
    heard.records.write()
    assert (heard.acknowledged, heard.notes) == ([3], [])
    assert Artifact.objects.count() == 1


def fail_as_an_outage() -> bool:
    raise OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize(
    ("reported", "start"), [([500, 510, 520], 500), ([0, 10, 40, 0, 5], 0), ([7], 7), ([30, 20], 20)]
)
def test_the_pace_is_measured_from_the_first_progress_of_the_attempt_or_of_its_newest_phase(
    heard: Heard, reported: list[float], start: float
) -> None:
    for current in reported:
        heard.records.progress(Progress(current, None, ""))
        heard.records.write()
    attempt = Attempt.objects.get()
    assert attempt.progress_from == start
    assert attempt.progress_from_at is not None
