"""A configuration with everything in it that a form has to show, and a browser that does to data what browsers do."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from experiments import Experiment
from experiments.forms.encoding import Data
from experiments.forms.fields import Field as FormField
from experiments.forms.introspection import describe_form
from experiments.validation import stored_configuration

NAME = "configuration"


class Colour(Enum):
    RED = "red"
    DEEP_BLUE = "deep blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Layer(BaseModel):
    size: int = Field(8, ge=1, le=1024, description="Neurons")
    activation: Literal["relu", "tanh"] = "relu"
    names: list[str] = []
    key: SecretStr | None = None


class Adam(BaseModel):
    kind: Literal["adam"] = "adam"
    beta: float = Field(0.9, gt=0, lt=1)
    key: SecretStr | None = None


class Sgd(BaseModel):
    kind: Literal["sgd"] = "sgd"
    momentum: float
    key: SecretStr | None = None


class Node(BaseModel):
    name: str = ""
    below: list[Node] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int = 1


class Everything(BaseModel):
    epochs: int = Field(3, ge=1, le=100, title="Passes over the data", json_schema_extra={"unit": "epochs"})
    needed: int
    rate: float = 0.5
    either_number: int | float = 1
    maybe: int | None = 4
    decimal: Decimal = Decimal("1.5")
    flag: bool = True
    maybe_flag: bool | None = None
    text: str = "plain"
    needed_text: str
    maybe_text: str | None = None
    prompt: str = Field("", json_schema_extra={"multiline": True})
    short: str = Field("x", min_length=1, pattern=r"^\w+$")
    colour: Colour = Colour.RED
    maybe_colour: Colour | None = None
    level: Level = Level.LOW
    mixed: Literal["1", 1, True, None] = 1
    day: date | None = None
    moment: datetime = datetime.fromisoformat("2026-03-29T02:30:00+00:00")
    pause: timedelta = timedelta(seconds=90)
    path: Path = Path("data")
    uuid: UUID | None = None
    layers: list[Layer] = Field(default_factory=lambda: [Layer(size=16)])
    maybe_layers: list[Layer] | None = None
    numbers: list[float] = []
    words: set[str] = set()
    layer: Layer = Layer()
    maybe_layer: Layer | None = None
    optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
    loose: Layer | list[int] | int | str | None = None
    open: Open = Open()
    named: dict[str, Layer] = {}
    pair: tuple[int, str] = (1, "a")
    tree: Node = Node()
    anything: Any = None
    called: int = Field(1, alias="Called By.Another")
    secret: SecretStr | None = None
    password: SecretStr = SecretStr("by default")
    secrets: list[SecretStr] = []
    timeout_s: float = 1.5


class Demo(Experiment):
    """Shows every kind of field."""

    class Config(Everything):
        """As it is."""

    def run(self, ctx: Any) -> None:
        """Nothing."""


def root() -> FormField:
    return describe_form(Everything)


def stored(**values: Any) -> dict[str, Any]:
    return stored_configuration(Everything.model_validate({"needed": 1, "needed_text": "x", **values}))


def through_browser(data: Data) -> Data:
    """Return the data with the CRLF line ends of a browser."""
    return {name: [value.replace("\n", "\r\n") for value in values] for name, values in data.items()}
