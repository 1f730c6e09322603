"""Background threads of a campaign: one launches runs, one samples their state in the database and in Redis."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from django.db import DatabaseError, close_old_connections, connections
from django.db.models import Exists, OuterRef
from kombu.exceptions import KombuError
from redis import RedisError

from athanor.chaos.sampling import state_of
from athanor.chaos.stage import NoTarget, Stage
from runs import services
from runs.exceptions import RunsError
from runs.lines.buffer import Stream, keys
from runs.models import Attempt
from runs.states import ACTIVE, AttemptKey

logger = logging.getLogger(__name__)

PROBE = "chaos_probe"
AWAY = (DatabaseError, KombuError, RedisError, RunsError, NoTarget, OSError)
"""Errors that are expected while faults are injected."""


def configuration(dice: random.Random) -> dict[str, Any]:
    """Draw the next run's configuration: most are plain, some leave processes, ignore a cancel or log a lot. Pure."""
    kind = dice.choices(("plain", "family", "stubborn", "loud"), (6, 2, 1, 1))[0]
    base = {
        "steps": dice.randint(10, 40),
        "pause_s": round(dice.uniform(0.05, 0.3), 3),
        "sync_every": dice.randint(1, 5),
    }
    more: dict[str, dict[str, Any]] = {
        "plain": {"lines": dice.randint(1, 10)},
        "family": {"lines": 2, "family": dice.randint(1, 4)},
        "stubborn": {"lines": 2, "family": 1, "stubborn": True},
        "loud": {"lines": dice.randint(200, 1000)},
    }
    return base | more[kind]


class Background(threading.Thread):
    """Call `once` repeatedly until `end`. Errors in AWAY are ignored."""

    def __init__(self, name: str, once: Callable[[], None], every_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._once, self._every_s = once, every_s
        self._ending = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ending.wait(self._every_s):
                close_old_connections()
                with suppress(*AWAY):
                    self._once()
        except BaseException as error:
            logger.exception("%s failed", self.name)
            self.failure = error
        finally:
            connections.close_all()

    def end(self) -> None:
        self._ending.set()
        self.join(30)


class Load:
    """Keep `at_once` runs active."""

    def __init__(self, stage: Stage, *, seed: int, at_once: int) -> None:
        self._stage, self._at_once = stage, at_once
        self._dice = random.Random(f"load {seed}")  # noqa: S311  # repeated, not guessed
        self.launched = 0

    def once(self) -> None:
        """Launch the missing runs, one after another."""
        for _ in range(self._at_once - len(self._stage.active())):
            chosen = configuration(self._dice)
            services.launch(PROBE, configuration=chosen, seed=self._dice.randrange(2**31), via=self._stage.via)
            self.launched += 1


class Sampler:
    """Sample the state of every run of chaos."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def once(self) -> None:
        open_attempts = Attempt.objects.filter(run=OuterRef("pk"), finished_at=None)
        runs = list(self._stage.runs().annotate(is_executed=Exists(open_attempts)))
        states = {run.pk: state_of(run) for run in runs}
        self._stage.samples.observe(states)
        self._stage.samples.compare({run.pk: (run.status, run.is_executed) for run in runs})
        active = [run_id for run_id, run in states.items() if run.status in ACTIVE]
        if active and self._stage.has_own_redis:
            self._stage.samples.take(lambda: self._tails(active))

    def _tails(self, run_ids: list[int]) -> Iterable[tuple[AttemptKey, Stream, int]]:
        streams = [(run_id, stream) for run_id in run_ids for stream in Stream]
        with self._stage.redis() as client:
            tails: Any = client.mget([keys.tail(run_id, stream) for run_id, stream in streams])
        for (run_id, stream), tail in zip(streams, tails, strict=True):
            if tail:
                attempt, _, seq = tail.decode().partition(":")
                yield AttemptKey(run_id, int(attempt)), stream, int(seq)
