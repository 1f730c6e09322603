"""Registry of faults, and their common parts.

Each fault is one function, registered by `@fault`. It returns a function that undoes it, or None. It raises NoTarget if
it has no target; then it has changed nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from athanor.chaos.plan import Planned, Spec
from athanor.chaos.stage import Live, Stage, choose

Undo = Callable[[], None] | None
Begin = Callable[[Stage, Planned], Undo]


@dataclass(frozen=True, slots=True)
class Fault:
    """Registered fault. `seconds` and `leases`: its shortest and longest duration."""

    name: str
    text: str
    begin: Begin
    weight: int
    seconds: tuple[float, float]
    leases: tuple[float, float]
    needs: str
    """Requirements of the stage: `place`, `redis` (one of the group's own), `sqlite`, `postgresql`; or nothing."""

    def spec(self, lease_s: float) -> Spec:
        shortest, longest = (a + b * lease_s for a, b in zip(self.seconds, self.leases, strict=True))
        return Spec(self.weight, shortest, longest)

    def fits(self, stage: Stage) -> bool:
        has = {stage.database, *(["place"] if stage.place else []), *(["redis"] if stage.has_own_redis else [])}
        return set(self.needs.split()) <= has


FAULTS: dict[str, Fault] = {}


def fault(
    text: str,
    *,
    weight: int = 1,
    seconds: tuple[float, float] = (0.0, 0.0),
    leases: tuple[float, float] = (0.0, 0.0),
    needs: str = "",
) -> Callable[[Begin], Begin]:
    def register(begin: Begin) -> Begin:
        FAULTS[begin.__name__] = Fault(begin.__name__, text, begin, weight, seconds, leases, needs)
        return begin

    return register


def kill(role: str, planned: Planned, stage: Stage, number: signal.Signals = signal.SIGKILL) -> Live:
    live = choose(stage.members(role), planned.luck)
    live.send(number)
    return live


def freeze(role: str, planned: Planned, stage: Stage) -> Undo:
    live = kill(role, planned, stage, signal.SIGSTOP)
    return partial(live.send, signal.SIGCONT)


def send(pid: int, number: signal.Signals) -> None:
    Live("", pid).send(number)
