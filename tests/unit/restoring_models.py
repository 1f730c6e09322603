"""Models of configurations for the tests of stored forms: each has one property that JSON may not give back."""

from __future__ import annotations

import dataclasses
import enum
import random
import threading
import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)


class Colour(enum.Enum):
    RED = "red"


class Size(NamedTuple):
    width: int
    height: int


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0


class Inner(BaseModel):
    rate: float = 0.1
    names: tuple[str, ...] = ()


class Frozen(BaseModel, frozen=True):
    n: int = 1


class Tree(RootModel[dict[str, list[int]]]):
    pass


class Each(BaseModel):
    """One field of each kind of type."""

    number: float = 1
    whole: int = 0
    either: int | str = 0
    text: str = ""
    raw: bytes = b""
    money: Decimal = Decimal("1.10")
    at: datetime | None = None
    day: date | None = None
    wait: timedelta = timedelta(0)
    path: Path = "data"  # type: ignore[assignment]  # as authors write it
    colour: Colour = Colour.RED
    colours: set[Colour] = set()
    numbers: frozenset[int] = frozenset()
    pair: tuple[int, str] = (1, "a")
    items: list[int] = (1, 2)  # type: ignore[assignment]
    by_number: dict[int, str] = {}
    anything: Any = None
    inner: Inner = Inner()
    inners: dict[str, list[Inner]] = {}
    frozen: Frozen = Frozen()
    point: Point = Point(1.0)
    size: Size = Size(1, 2)
    tree: Tree = Tree({})
    kind: Literal["a", 1, None] = "a"
    secret: SecretStr = SecretStr("hush")
    secret_bytes: SecretBytes = SecretBytes(b"hush")
    secret_day: Secret[date] | None = None
    made: float = Field(default_factory=random.random)
    seen: float = Field(default_factory=time.time)
    aliased: int = Field(1, validation_alias=AliasChoices("Alias", "other"), serialization_alias="Third")
    strict: Annotated[float, Field(strict=True)] = 0.5


class ByAlias(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    n: int = Field(1, validation_alias="in", serialization_alias="out")


class Open(BaseModel, extra="allow"):
    pass


class Locked(BaseModel):
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _made: float = PrivateAttr(default_factory=time.perf_counter)
    _double: int = PrivateAttr(0)
    n: int = 1

    def model_post_init(self, context: Any) -> None:
        self._double = 2 * self.n


class Before(BaseModel):
    """A validator that gives the same for its own result."""

    layers: list[int] = [1]

    @field_validator("layers", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @computed_field  # type: ignore[prop-decorator]
    @property
    def depth(self) -> int:
        return len(self.layers)


class Percent(BaseModel):
    v: float = 50

    @field_validator("v")
    @classmethod
    def part(cls, value: float) -> float:
        return value / 100


class PercentOfDefault(Percent):
    model_config = ConfigDict(validate_default=True)


class Appends(BaseModel):
    inner: Inner = Inner()
    layers: list[int] = []

    @model_validator(mode="after")
    def extend(self) -> Appends:
        self.layers.append(1)
        return self


class Renames(BaseModel):
    name: str = "a"

    @model_validator(mode="before")
    @classmethod
    def prefix(cls, data: Any) -> Any:
        return {**data, "name": "x" + data.get("name", "a")}


class Excluded(BaseModel):
    token: str = Field("default", exclude=True)


class ExcludedAndNeeded(BaseModel):
    token: str = Field(exclude=True)


class Masked(BaseModel):
    token: str = "t0ken"

    @field_serializer("token")
    def mask(self, value: str) -> str:
        return "***"


class Rounds(BaseModel):
    deep: dict[str, list[Inner]] = {}
    x: float = 0.0

    @field_serializer("x")
    def short(self, value: float) -> float:
        return round(value, 2)


class Counts(BaseModel):
    n: int = 0

    @model_validator(mode="after")
    def change(self) -> Counts:
        self.n = random.randrange(10**9)
        return self


class Remembers(BaseModel):
    n: int = 1
    _raw: Any = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def keep(cls, data: Any, handler: Any) -> Any:
        made = handler(data)
        made._raw = dict(data)
        return made


class WrongDefault(BaseModel):
    n: int = "many"  # type: ignore[assignment]


class Derived(Inner):
    more: int = 1


class Handle:
    def __init__(self, name: str) -> None:
        self.name = name


class Arbitrary(BaseModel, arbitrary_types_allowed=True):
    handle: Annotated[Handle, BeforeValidator(lambda v: Handle(v) if isinstance(v, str) else v)]

    @field_serializer("handle")
    def to_name(self, value: Handle) -> str:
        return value.name
