"""Random generators of a process from which runs are forked: each run gets the numbers that a cold start would give it.

A generator that the import has seeded stays as the import left it: every run begins with the same numbers. One that
nobody seeded gets a new seed in each run.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

BLOCKS_MAX = 200
"""Blocks of 624 numbers that an import may draw from a generator that it does not seed."""
_GIVEN_MAX = 2**64
"""A smaller seed was given by an author: automatic ones of numpy have 128 bits."""
_TORCH_GIVEN_MAX = 2**32
"""A smaller seed of torch was given by an author: automatic ones have 53 bits."""


class Generators:
    """Generators of this process. Create it before the import, `settle` after it, `renew` in each run."""

    def __init__(self) -> None:
        self._before = random.getstate()
        self._seeded: Any = None
        self._renewals: list[Callable[[], object]] = []

    def settle(self, modules: Iterable[ModuleType]) -> str:
        """Find the generators. Return the problem with those of the author's `modules`, as the end of a sentence."""
        after = random.getstate()
        self._seeded = None if _is_reachable(self._before, after) else after
        numpy = sys.modules.get("numpy.random")
        with suppress(AttributeError, TypeError, ValueError):  # other versions of the library
            self._renewals += _of_numpy(numpy) if numpy else []
        with suppress(AttributeError, TypeError, ValueError):
            self._renewals += _of_torch(sys.modules.get("torch"))
        return _own_generator(modules, numpy)

    def renew(self) -> None:
        """Give this process numbers of its own. A fork has already seeded `random` again."""
        if self._seeded is not None:
            random.setstate(self._seeded)
        for renewal in self._renewals:
            renewal()


def _is_reachable(before: Any, after: Any) -> bool:
    """Return whether drawing numbers leads from one state of `random` to the other."""
    generator = random.Random()  # noqa: S311  # repeats what the import drew
    generator.setstate(before)
    for _ in range(BLOCKS_MAX):
        state = generator.getstate()
        if state[1][:-1] == after[1][:-1]:
            return True
        generator.getrandbits(32 * 624)
    return False


def _of_numpy(numpy: Any) -> list[Callable[[], object]]:
    """Return what renews the global generator of numpy and those of libraries, unless somebody seeded them."""
    renewals = [numpy.seed] if _is_automatic(numpy.get_bit_generator()) else []
    others = [each for each in gc.get_objects() if isinstance(each, numpy.BitGenerator)]
    own = numpy.get_bit_generator()
    return renewals + [partial(_renew, each) for each in others if each is not own and _is_automatic(each)]


def _renew(generator: Any) -> None:
    generator.state = type(generator)().state


def _is_automatic(generator: Any) -> bool:
    """Return whether a bit generator of numpy has its seed from the system. After `numpy.random.seed` it has none."""
    seed = generator.seed_seq
    return seed is not None and isinstance(seed.entropy, int) and seed.entropy >= _GIVEN_MAX


def _of_torch(torch: Any) -> list[Callable[[], object]]:
    if torch is None or torch.default_generator.initial_seed() < _TORCH_GIVEN_MAX:
        return []
    return [torch.default_generator.seed]


def _own_generator(modules: Iterable[ModuleType], numpy: Any) -> str:
    """Find a generator in the globals of an author's module or in its classes that has its seed from the system."""
    for module in modules:
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        for space in (module, *(each for each in classes if each.__module__ == module.__name__)):
            for name, value in list(vars(space).items()):
                if _is_from_the_system(value, numpy):
                    return f"created a random generator ({module.__name__}.{name}) that all runs would share"
    return ""


def _is_from_the_system(value: Any, numpy: Any) -> bool:
    if isinstance(value, random.Random):
        return not isinstance(value, random.SystemRandom) and value is not random._inst
    if numpy is None:
        return False
    if isinstance(value, numpy.RandomState):
        return bool(value is not numpy.mtrand._rand) and _is_automatic(value._bit_generator)
    if isinstance(value, numpy.Generator):
        return _is_automatic(value.bit_generator)
    return isinstance(value, numpy.BitGenerator) and _is_automatic(value)
