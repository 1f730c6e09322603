"""What is done when. Pure: one seed, one plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

QUIET_AT_END = 0.05
"""The last part of the time, in which nothing new is done."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What the plan needs to know of a fault."""

    weight: int = 1
    """How often it is in the deck."""
    shortest_s: float = 0.0
    longest_s: float = 0.0
    """How long it lasts, before it is undone."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a plan."""

    number: int
    at_s: float
    """Since the beginning."""
    fault: str
    length_s: float
    luck: float
    """In [0, 1): which of the possible targets is met."""


def planned(specs: Mapping[str, Spec], *, seed: int, duration_s: float, every_s: float) -> list[Planned]:
    """Faults every `every_s` on average until shortly before the end. Each comes once before any comes twice too often:
    they are drawn from a deck, which is shuffled anew when it is used up.
    """
    dice = random.Random(seed)  # noqa: S311  # a plan is repeated, not guessed
    deck = _deck(specs, dice)
    found: list[Planned] = []
    at_s = dice.uniform(0.2, 1.0) * every_s
    while specs and at_s < duration_s * (1 - QUIET_AT_END):
        name = next(deck)
        length_s = dice.uniform(specs[name].shortest_s, specs[name].longest_s)
        found.append(Planned(len(found), at_s, name, length_s, dice.random()))
        at_s += dice.uniform(0.4, 1.6) * every_s
    return found


def _deck(specs: Mapping[str, Spec], dice: random.Random) -> Iterator[str]:
    cards = [name for name in sorted(specs) for _ in range(specs[name].weight)]
    while True:
        dice.shuffle(cards)
        yield from cards
