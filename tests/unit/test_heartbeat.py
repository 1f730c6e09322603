"""Until when a worker may take its attempts for its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from runs import transitions
from runs.models import Worker
from runs.states import AttemptKey
from runs.transitions import Renewed
from runs.worker import heartbeat
from runs.worker.heartbeat import Heartbeat

KEY = AttemptKey(7, 2)
NEWS = Renewed(None, False, 0, 0)


class World:
    """The lease clock, and a database that renews, refuses or has given the attempt to another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.answer = 100.0, {KEY: NEWS}
        self.is_away, self.takes_s = False, 0.0
        self.kept: list[float] = []
        self.learned: list[dict[AttemptKey, Renewed]] = []
        monkeypatch.setattr(heartbeat, "lease_clock", lambda: self.now)
        monkeypatch.setattr(transitions, "renew", self._renew)
        monkeypatch.setattr(Worker.objects, "filter", lambda **_: self)

    def _renew(self, *_: Any, **__: Any) -> dict[AttemptKey, Renewed]:
        if self.is_away:
            raise OperationalError("away")
        self.now += self.takes_s
        return self.answer

    def update(self, **_: Any) -> None:
        """Of the worker's row."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def beat(world: World) -> Heartbeat:
    learned: Callable[[set[AttemptKey], dict[AttemptKey, Renewed]], None] = lambda _, news: world.learned.append(news)  # noqa: E731
    return Heartbeat(
        Worker(pk=1), lease_s=10, margin_s=3, every_s=2, mine=lambda: {KEY}, kept=world.kept.append, learned=learned
    )


def test_a_lease_is_reckoned_from_the_moment_before_it_was_asked_for(world: World, beat: Heartbeat) -> None:
    world.takes_s = 4
    assert beat.run_once()
    assert world.kept == [100 + 10 - 3]
    assert (beat.until, beat.age_s) == (107, 4)


def test_a_worker_holds_nothing_before_its_first_renewal_and_after_it_stood_still(
    world: World, beat: Heartbeat
) -> None:
    assert not beat.holds
    beat.run_once()
    assert beat.holds
    world.now += 7
    assert not beat.holds
    beat.run_once()
    assert beat.holds


def test_a_database_that_is_away_moves_nothing(world: World, beat: Heartbeat) -> None:
    beat.run_once()
    world.is_away = True
    world.now += 5
    assert not beat.run_once()
    assert world.kept == [107]
    assert (beat.until, len(world.learned)) == (107, 1)


def test_a_fresh_lease_is_not_asked_for_again_before_a_start(world: World, beat: Heartbeat) -> None:
    beat.run_once()
    world.now += 3
    assert beat.hold(KEY) == 107
    assert world.kept == [107]


def test_an_old_lease_is_renewed_before_a_start(world: World, beat: Heartbeat) -> None:
    beat.run_once()
    world.now += 5
    assert beat.hold(KEY) == 105 + 7


@pytest.mark.parametrize("trouble", ["away", "taken over"])
def test_nothing_is_started_that_may_be_another_s(world: World, beat: Heartbeat, trouble: str) -> None:
    beat.run_once()
    world.now += 60
    world.is_away, world.answer = trouble == "away", {}
    assert beat.hold(KEY) is None
