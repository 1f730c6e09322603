"""Plan of a campaign: which fault at which time. Pure: one seed gives one plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

QUIET_AT_END = 0.05
"""Share of the duration at its end without new faults."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Properties of a fault that the plan needs."""

    weight: int = 1
    """Number of its cards in the deck."""
    shortest_s: float = 0.0
    longest_s: float = 0.0
    """Longest time before it is undone."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a plan."""

    number: int
    at_s: float
    """Seconds since the start of the campaign."""
    fault: str
    length_s: float
    luck: float
    """Number in [0, 1) that selects one of the possible targets."""


def planned(specs: Mapping[str, Spec], *, seed: int, duration_s: float, every_s: float) -> list[Planned]:
    """Plan faults every `every_s` on average until shortly before the end.

    They are drawn from a deck that is shuffled again when it is used up, so that every fault occurs.
    """
    dice = random.Random(seed)  # noqa: S311  # a plan is repeated, not guessed
    deck = _deck(specs, dice)
    faults: list[Planned] = []
    at_s = dice.uniform(0.2, 1.0) * every_s
    while specs and at_s < duration_s * (1 - QUIET_AT_END):
        name = next(deck)
        length_s = dice.uniform(specs[name].shortest_s, specs[name].longest_s)
        faults.append(Planned(len(faults), at_s, name, length_s, dice.random()))
        at_s += dice.uniform(0.4, 1.6) * every_s
    return faults


def _deck(specs: Mapping[str, Spec], dice: random.Random) -> Iterator[str]:
    cards = [name for name in sorted(specs) for _ in range(specs[name].weight)]
    while True:
        dice.shuffle(cards)
        yield from cards
