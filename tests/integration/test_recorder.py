"""What an attempt writes while it runs: with its checkpoint what was said before, and nothing once it is taken over."""

from __future__ import annotations

import pytest

from runs.lines.records import Progress
from runs.models import Attempt, Checkpoint
from runs.states import FailureKind, Status
from runs.supervisor.recorder import RunRecords
from runs.transitions import Ending, Settled, settle
from tests.factories import make_attempt, make_run

pytestmark = pytest.mark.django_db


class Heard:
    """What the recorder tells others."""

    def __init__(self, attempt: Attempt) -> None:
        self.acknowledged: list[int] = []
        self.said = 0
        self.records = RunRecords(attempt.key, self.acknowledged.append, lambda: None, self._store_said)

    def _store_said(self) -> None:
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
    lost = Ending(Status.FAILED, FailureKind.LOST, error="Its worker vanished.")
    assert settle(heard.records.key, lost) is not Settled.SUPERSEDED
    heard.records.checkpoint({"id": 3, "sync": True, "state": {"step": 1}})
    heard.records.write()
    assert (heard.said, heard.acknowledged) == (0, [])
    assert not Checkpoint.objects.exists()


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
