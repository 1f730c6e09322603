"""Values of unusual types for the tests of values that an experiment hands over."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

from pydantic import BaseModel


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Layer:
    size: int
    rate: float


class Empty(BaseModel):
    pass


class Score(BaseModel):
    loss: float = math.nan


class Tensor:
    """Stand in for a torch tensor."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def tolist(self) -> Any:
        return self._value

    def __float__(self) -> float:
        return float(self._value)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Loop(dict[str, Any]):
    """A mapping that contains itself."""

    def __init__(self) -> None:
        super().__init__(me=self)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def shared(times: int) -> Any:
    """A list that is small in memory and 2 ** times large as JSON."""
    value: Any = [1]
    for _ in range(times):
        value = [value, value]
    return value
