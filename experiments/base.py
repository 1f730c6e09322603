"""Base class of experiments."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from experiments.context import RunContext
from experiments.limits import Limits
from experiments.retry import Retry


def default_name(class_name: str) -> str:
    """Return the name of an experiment that declares none: `MonteCarloPi` → `monte_carlo_pi`."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", class_name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


class Experiment(ABC):
    """Base class of all experiments. Subclass it, declare a `Config`, write `run` (a plain or an `async` method).

    `return` completes the run (a returned mapping becomes its summary), an exception fails it, `ctx.fail(message)`
    fails it without a traceback. One object of the class is created per run, in a process of its own.
    """

    name: ClassVar[str] = ""
    """Unique name; by default the class's name in snake case."""

    title: ClassVar[str] = ""
    """Display name; derived from `name` by default."""

    limits: ClassVar[Limits] = Limits()
    """Limits of each run unless its instance or launch overrides them."""

    hidden: ClassVar[bool] = False
    """True hides it from all lists; it can still be launched by name."""

    queue: ClassVar[str] = "runs"
    """Celery queue that its runs are sent to."""

    on_lost: ClassVar[Literal["retry", "fail"]] = "retry"
    """Policy when the worker of a run vanishes: start another attempt, or fail as `lost`."""

    max_attempts: ClassVar[int] = 3
    """Maximum number of attempts of a run if its workers vanish, including the first one."""

    retries: ClassVar[Mapping[str, Retry]] = {}
    """Failure kind → retry policy: `{"error": Retry(times=3, backoff_s=10)}`. Without an entry only `lost` runs get
    another attempt, by `on_lost` and `max_attempts`. It continues from the last checkpoint."""

    comparable: ClassVar[Mapping[str, float]] = {}
    """Values that a reproduction must match: key of a result, metric (its last value) or returned value → tolerance for
    numbers (0: exact). Empty: all returned values, exactly."""

    warm: ClassVar[bool | None] = None
    """Warm start: a worker keeps a process that has imported the module, and forks each run from it. True for any
    module, False never. None where it saves time and the module only defines things. See docs/writing-experiments.md.
    """

    class Config(BaseModel):
        """Configuration of a run; empty by default."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = default_name(cls.__name__)
        if "title" not in cls.__dict__:
            cls.title = cls.name.replace("_", " ").capitalize()

    @abstractmethod
    def run(self, ctx: RunContext[Any]) -> Any:
        """Do the work. Returns a JSON-serialisable mapping (the summary) or None."""
