"""One campaign: load, faults by the plan, recovery, and the checks of all invariants."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import close_old_connections
from django.db.models import Count

from athanor.chaos.faults import FAULTS
from athanor.chaos.invariants import Invariant, check_runs
from athanor.chaos.load import AWAY, Background, Load, Sampler
from athanor.chaos.plan import Planned, planned
from athanor.chaos.slots import CampaignSchedules
from athanor.chaos.stage import NoTarget, Stage
from athanor.up import status
from runs.conf import runs_settings
from runs.models import Attempt, LogLine

logger = logging.getLogger(__name__)

SAMPLE_S, LOAD_S = 0.25, 0.25
POLL_S = 0.2
WHOLE_S = 60.0
"""Longest time until all processes of the stack run again; restarts may be delayed by their back-off."""


@dataclass(frozen=True, slots=True)
class Options:
    duration_s: float
    seed: int
    faults: tuple[str, ...]
    every_s: float
    """Average seconds between two faults."""
    at_once: int
    """Number of concurrent runs."""
    patience_s: float
    """Seconds that runs may take to end after the last fault."""
    schedules: int = 0


@dataclass(slots=True)
class Outcome:
    """Result of a campaign: faults, and which invariants held."""

    seed: int
    database: str
    duration_s: float
    done: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, Counter[str]] = field(default_factory=dict)
    """Fault → reasons why it was skipped, with their counts."""
    invariants: list[Invariant] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    """Status → number of runs."""
    attempts: int = 0
    lines: int = 0
    calm_s: float = 0.0
    """Seconds from the last fault until every run had ended."""

    @property
    def holds(self) -> bool:
        return all(invariant.holds for invariant in self.invariants)


class Campaign:
    """Campaign of one stage. Call `run` once."""

    def __init__(self, stage: Stage, options: Options, echo: Callable[[str], None]) -> None:
        self._stage, self._options, self._echo = stage, options, echo
        self._outcome = Outcome(options.seed, stage.database, options.duration_s)
        self._undos: list[tuple[float, int, str, Callable[[], None]]] = []
        self._pause = threading.Event()
        self._began = 0.0

    def run(self) -> Outcome:
        """Run the campaign. Raises the exception of a background thread that failed for another reason than a fault."""
        options, stage = self._options, self._stage
        schedules = CampaignSchedules(stage, count=options.schedules, seed=options.seed)
        schedules.create()
        load = Background("load", Load(stage, seed=options.seed, at_once=options.at_once).once, LOAD_S)
        sampler = Background("sampler", Sampler(stage).once, SAMPLE_S)
        load.start()
        sampler.start()
        try:
            self._play(self._plan())
        finally:
            self._calm_down()
            load.end()
        self._await_ends(schedules)
        sampler.end()
        for thread in (load, sampler):
            if thread.failure:
                raise thread.failure
        self._check_all()
        self._outcome.invariants += schedules.check()
        if stage.place is None:
            schedules.remove()
        return self._outcome

    def _plan(self) -> list[Planned]:
        options, lease_s = self._options, runs_settings().lease_s
        specs = {name: FAULTS[name].spec(lease_s) for name in options.faults}
        return planned(specs, seed=options.seed, duration_s=options.duration_s, every_s=options.every_s)

    # Faults

    def _play(self, plan: list[Planned]) -> None:
        self._began = time.monotonic()
        for one in plan:
            self._undo_until(one.at_s)
            self._do(one)
        self._undo_until(self._options.duration_s)

    def _do(self, one: Planned) -> None:
        fault = FAULTS[one.fault]
        close_old_connections()
        try:
            undo = fault.begin(self._stage, one)
        except (NoTarget, *AWAY) as error:
            self._outcome.skipped.setdefault(one.fault, Counter())[str(error).strip() or type(error).__name__] += 1
            return
        self._outcome.done[one.fault] += 1
        lasts = f" for {one.length_s:.1f} s" if one.length_s else ""
        self._echo(f"{self._now_s():7.1f} s  {one.fault}{lasts}: {fault.text}")
        if undo is not None:
            heapq.heappush(self._undos, (self._now_s() + one.length_s, one.number, one.fault, undo))

    def _undo_until(self, until_s: float) -> None:
        """Wait until that time of the plan, and undo the faults that end before it."""
        while self._undos and self._undos[0][0] <= until_s:
            self._wait_until(self._undos[0][0])
            self._undo(*heapq.heappop(self._undos)[1:])
        self._wait_until(until_s)

    def _undo(self, number: int, name: str, undo: Callable[[], None]) -> None:
        """Undo a fault. If that fails, as during another fault, schedule it again."""
        try:
            undo()
        except Exception as error:
            logger.warning("%s cannot be undone yet: %s", name, error)
            heapq.heappush(self._undos, (self._now_s() + POLL_S, number, name, undo))

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    def _wait_until(self, at_s: float) -> None:
        self._pause.wait(max(at_s - self._now_s(), 0.0))

    def _calm_down(self) -> None:
        """Undo all faults, thaw all processes and start the database."""
        self._stage.thaw()
        until_s = self._now_s() + WHOLE_S
        while self._undos and self._now_s() < until_s:
            self._undo(*heapq.heappop(self._undos)[1:])
            self._pause.wait(POLL_S if self._undos else 0)
        self._stage.thaw()
        if self._stage.place and self._stage.place.postgres:
            self._stage.place.postgres.start()

    # Calm

    def _await_ends(self, schedules: CampaignSchedules) -> None:
        began = time.monotonic()
        self._echo("No more faults. Waiting for all runs to end.")
        self._wait(schedules.pause, WHOLE_S)
        self._wait(lambda: not self._stage.active(), self._options.patience_s)
        self._wait(self._is_whole, WHOLE_S)
        self._wait(schedules.is_settled, WHOLE_S)
        self._outcome.calm_s = time.monotonic() - began

    def _is_whole(self) -> bool:
        return status.all_running(status.Files(self._stage.var))

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(*AWAY):
                close_old_connections()
                if condition():
                    return True
            self._pause.wait(POLL_S)
        return False

    def _check_all(self) -> None:
        close_old_connections()
        outcome, runs = self._outcome, self._stage.runs()
        outcome.runs.update(dict(runs.order_by().values_list("status").annotate(Count("pk"))))
        outcome.attempts = Attempt.objects.filter(run__in=runs).count()
        outcome.lines = LogLine.objects.filter(run__in=runs).count()
        whole = Invariant("whole", "every process of the stack runs again", 1)
        if not self._is_whole():
            whole.broken.append(str({live.role: live.pid for live in self._stage.group()}))
        outcome.invariants += [*check_runs(self._stage), whole]
