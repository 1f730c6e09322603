"""The class an author writes."""

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
    """The name an experiment has when it declares none: `MonteCarloPi` → `monte_carlo_pi`."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", class_name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


class Experiment(ABC):
    """Something that can be run. Subclass it, declare a `Config`, write `run` (a plain or an `async` method).

    `return` completes the run (a returned mapping becomes its summary), an exception fails it, `ctx.fail(message)`
    fails it without a traceback. The class is made once per run, in a process of its own.
    """

    name: ClassVar[str] = ""
    """Unique name; by default the class's name in snake case."""

    title: ClassVar[str] = ""
    """Display name; made from `name` by default."""

    limits: ClassVar[Limits] = Limits()
    """What each run may use unless its instance or launch says otherwise."""

    hidden: ClassVar[bool] = False
    """Offered nowhere; whoever knows the name can launch it."""

    queue: ClassVar[str] = "runs"
    """The Celery queue whose workers may run it."""

    on_lost: ClassVar[Literal["retry", "fail"]] = "retry"
    """What happens when the worker of a run vanishes: the next attempt, or the end as `lost`."""

    max_attempts: ClassVar[int] = 3
    """How many attempts a run may have if its workers vanish, the first one included."""

    retries: ClassVar[Mapping[str, Retry]] = {}
    """Kind of failure → when to try again: `{"error": Retry(times=3, backoff_s=10)}`. Nothing is tried again but `lost`
    runs, by `on_lost` and `max_attempts`, unless it is said here. A later attempt goes on from the last checkpoint."""

    comparable: ClassVar[Mapping[str, float]] = {}
    """Results that a reproduction must give again: key of a result, metric (its last value) or returned value → by how
    much a number may differ (0: not at all). Empty: everything that is returned, exactly."""

    class Config(BaseModel):
        """What can be configured; nothing unless a subclass says so."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = default_name(cls.__name__)
        if "title" not in cls.__dict__:
            cls.title = cls.name.replace("_", " ").capitalize()

    @abstractmethod
    def run(self, ctx: RunContext[Any]) -> Any:
        """Do the work. Returns a JSON-serialisable mapping (the summary) or None."""
