"""Whose leases the renewer of a worker renews, when, and what it tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runs.forkserver.board import Board
from runs.worker.lease_store import Key, LeaseStore, Renewal, Request, Unavailable
from runs.worker.renewer import POLL_MAX_S, POLL_S, RETRY_S, Renewals, Terms

TERMS = Terms(lease_s=10, margin_s=3, every_s=2, silent_s=60)
FIRST, SECOND = (1, 1), (2, 1)


class World(LeaseStore):
    """A worker with two attempts, and a database that answers as it is told."""

    def __init__(self) -> None:
        self.now, self.is_stopped, self.is_away, self.takes_s = 100.0, False, False, 0.0
        self.locked: set[Key] = set()
        self.closed: set[Key] = set()
        self.asked: list[set[Key]] = []
        self.requests, self.deadlines = Board.create(), Board.create()
        self.show_life()
        self.renewals = self.start_renewer()

    def start_renewer(self) -> Renewals:
        boards = (self.requests, self.deadlines)
        return Renewals(*boards, self, TERMS, is_stopped=lambda: self.is_stopped, clock=lambda: self.now)

    def show_life(self) -> None:
        self.requests.publish({"worker": 5, "attempts": ["1.1", "2.1"], "counts": {}, "alive_at": self.now})

    def renew(self, request: Request, clock: Callable[[], float]) -> Renewal:
        self.asked.append(set(request.attempts))
        if self.is_away:
            raise Unavailable("away")
        at = clock()
        self.now += self.takes_s
        still_open = set(request.attempts) - self.closed
        return Renewal(at, still_open - self.locked, still_open)

    @property
    def until(self) -> dict[str, float]:
        until: dict[str, float] = self.deadlines.read().get("until", {})
        return until


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.requests.close()
    world.deadlines.close()


def test_deadlines_are_reckoned_from_the_moment_before_the_renewal(world: World) -> None:
    world.takes_s = 4
    assert world.renewals.run_once()
    assert world.until == {"1.1": 107, "2.1": 107}
    assert world.deadlines.read()["at"] == 100


def test_renewals_come_with_their_period(world: World) -> None:
    assert world.renewals.run_once()
    world.now += 1.9
    assert not world.renewals.run_once()
    world.now += 0.2
    assert world.renewals.run_once()


def test_pauses_end_when_a_renewal_is_due(world: World) -> None:
    assert world.renewals.pause_s() == POLL_S
    world.renewals.run_once()
    assert world.renewals.pause_s() == POLL_MAX_S
    world.now += 1.9
    assert world.renewals.pause_s() == pytest.approx(0.1)
    world.now += 0.1
    assert world.renewals.pause_s() == POLL_S


def test_a_locked_attempt_is_tried_again_soon_and_keeps_its_deadline(world: World) -> None:
    world.renewals.run_once()
    world.locked = {SECOND}
    world.now += 2
    world.renewals.run_once()
    assert world.until == {"1.1": 109, "2.1": 107}
    world.locked = set()
    world.now += RETRY_S
    assert world.renewals.run_once()
    assert world.until["2.1"] == pytest.approx(109 + RETRY_S)


def test_an_attempt_that_was_taken_over_has_no_deadline_any_more(world: World) -> None:
    world.renewals.run_once()
    world.closed = {FIRST}
    world.now += 2
    world.renewals.run_once()
    assert world.until.keys() == {"2.1"}


def test_a_database_that_is_away_moves_nothing_and_is_asked_again_soon(world: World) -> None:
    world.renewals.run_once()
    world.is_away = True
    world.now += 2
    world.renewals.run_once()
    assert world.until == {"1.1": 107, "2.1": 107}
    world.now += RETRY_S
    assert world.renewals.run_once()
    assert len(world.asked) == 3


@pytest.mark.parametrize("trouble", [{"is_stopped": True}, {"now": 161.0}], ids=["stopped", "silent"])
def test_nothing_is_renewed_for_a_worker_that_cannot_look_after_its_runs(world: World, trouble: dict[str, Any]) -> None:
    vars(world).update(trouble)
    assert not world.renewals.run_once()
    assert world.asked == []
    world.is_stopped = False
    world.show_life()
    assert world.renewals.run_once()


def test_a_renewer_that_was_started_again_goes_on_from_the_deadlines(world: World) -> None:
    world.renewals.run_once()
    world.locked = {FIRST, SECOND}
    world.start_renewer().run_once()
    assert world.until == {"1.1": 107, "2.1": 107}
