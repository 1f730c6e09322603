"""Until when a worker may take its attempts for its own, and when it takes on no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runs.conf import RunsSettings
from runs.forkserver.board import Board
from runs.states import AttemptKey
from runs.worker import heartbeat
from runs.worker.heartbeat import Heartbeat

KEY, OTHER = AttemptKey(7, 2), AttemptKey(8, 1)
CONF = RunsSettings(lease_s=10, lease_margin_s=3, heartbeat_s=2)


class World:
    """Lease clock, and the deadlines that the renewer publishes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.deadlines = Board.create()
        monkeypatch.setattr(heartbeat, "lease_clock", lambda: self.now)
        monkeypatch.setattr(heartbeat, "POLL_S", 0.001)

    def renewed(self, **until: float) -> None:
        names = {name.strip("_").replace("_", "."): moment for name, moment in until.items()}
        self.deadlines.publish({"at": self.now, "until": names})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.deadlines.close()


@pytest.fixture
def beat(world: World) -> Heartbeat:
    return Heartbeat(1, world.deadlines, CONF)


def test_a_lease_is_reckoned_from_the_moment_before_the_claim(beat: Heartbeat) -> None:
    beat.add(KEY, claimed_at=98)
    assert beat.until(KEY) == 98 + 10 - 3


def test_a_renewal_moves_the_deadline_of_its_attempt_alone(world: World, beat: Heartbeat) -> None:
    beat.add(KEY, claimed_at=98)
    beat.add(OTHER, claimed_at=98)
    world.renewed(_7_2=120)
    assert (beat.until(KEY), beat.until(OTHER)) == (120, 105)


def test_nothing_is_held_after_a_deadline_until_the_lease_is_renewed(world: World, beat: Heartbeat) -> None:
    beat.add(KEY, claimed_at=100)
    assert beat.holds(KEY)
    world.now += 7
    assert not beat.holds(KEY)
    world.renewed(_7_2=114)
    assert beat.holds(KEY)


def test_an_attempt_that_is_gone_is_not_held(beat: Heartbeat) -> None:
    beat.add(KEY, claimed_at=100)
    beat.remove(KEY)
    assert not beat.holds(KEY)


def test_a_start_does_not_wait_for_a_renewal(beat: Heartbeat) -> None:
    beat.add(KEY, claimed_at=100)
    assert beat.start_before(KEY) == 107


def test_nothing_is_started_that_may_be_another_s(world: World, beat: Heartbeat) -> None:
    quick = Heartbeat(1, world.deadlines, RunsSettings(lease_s=0.05, lease_margin_s=0.01))
    quick.add(KEY, claimed_at=90)
    assert quick.start_before(KEY) is None


@pytest.mark.parametrize(("age_s", "is_late"), [(0.0, False), (3.9, False), (4.1, True), (60.0, True)])
def test_a_worker_whose_renewals_are_late_takes_on_no_more(
    world: World, beat: Heartbeat, age_s: float, is_late: bool
) -> None:
    world.renewed()
    world.now += age_s
    assert beat.is_late is is_late
