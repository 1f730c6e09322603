"""Typed text is parsed by the type of its field."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import AliasChoices, AnyUrl, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from typing_extensions import TypedDict

from experiments.typed_text import parsed, plain, typed, typed_numbers

LONG = "0.1234567890123456789012345678"


class Colour(enum.Enum):
    RED = "red"
    ONE = "1"


class Level(enum.IntEnum):
    LOW = 1


class Size(NamedTuple):
    width: int
    name: str


class Box(TypedDict):
    name: str


@dataclasses.dataclass
class Point:
    label: str
    x: float = 0.0


class Adam(BaseModel):
    beta: float = 0.9
    name: str = ""


class Config(BaseModel):
    version: str = ""
    note: str | None = None
    money: Decimal = Decimal(0)
    maybe_money: Decimal | None = None
    rate: float = 0.0
    epochs: int = 0
    flag: bool = False
    either: int | str = 0
    number: float | str = 0.0
    auto: float | Literal["auto"] = "auto"
    choice: Literal["1", "a"] = "a"
    whole: Literal[1, 2] = 1
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    path: Path = Path()
    url: AnyUrl | None = None
    unique: uuid.UUID | None = None
    secret: SecretStr = SecretStr("")
    day: date | None = None
    wait: timedelta = timedelta()
    layers: list[int] = []
    versions: list[str] = []
    prices: dict[str, Decimal] = {}
    pair: tuple[str, int] = ("", 0)
    many: tuple[str, ...] = ()
    size: Size = Size(0, "")
    box: Box = {"name": ""}
    point: Point = Point("")
    optimizer: Adam | None = None
    split: Annotated[list[str], BeforeValidator(lambda v: v.split(",") if isinstance(v, str) else v)] = []
    anything: Any = None
    aliased: str = Field("", validation_alias=AliasChoices("zip", "post"))


CASES = [
    ("version", "1.10", "1.10"),
    ("version", "9509425349e4", "9509425349e4"),
    ("version", "007", "007"),
    ("version", "null", "null"),
    ("version", "true", "true"),
    ("version", "[1, 2]", "[1, 2]"),
    ("version", '{"a": 1}', '{"a": 1}'),
    ("version", '"null"', "null"),
    ("version", "", ""),
    ("version", "NaN", "NaN"),
    ("version", " a = b ", " a = b "),
    ("version", "1" * 5000, "1" * 5000),
    ("aliased", "007", "007"),
    ("note", "null", None),
    ("note", '"null"', "null"),
    ("note", "1.10", "1.10"),
    ("money", LONG, Decimal(LONG)),
    ("money", "1.10", Decimal("1.10")),
    ("money", "1e-7", Decimal("1e-7")),
    ("maybe_money", LONG, Decimal(LONG)),
    ("maybe_money", "null", None),
    ("rate", "0.1", 0.1),
    ("rate", "1e-3", 0.001),
    ("rate", "3", 3.0),
    ("epochs", "20", 20),
    ("epochs", "1e3", 1000),
    ("epochs", str(2**70), 2**70),
    ("flag", "true", True),
    ("flag", "yes", True),
    ("flag", "0", False),
    ("either", "7", 7),
    ("either", "007", "007"),
    ("either", "1.10", "1.10"),
    ("either", '"7"', "7"),
    ("either", "null", "null"),
    ("number", "0.5", 0.5),
    ("number", "v0.5", "v0.5"),
    ("auto", "auto", "auto"),
    ("auto", "1e-3", 0.001),
    ("choice", "1", "1"),
    ("whole", "2", 2),
    ("colour", "red", Colour.RED),
    ("colour", "1", Colour.ONE),
    ("level", "1", Level.LOW),
    ("path", "007", Path("007")),
    ("url", "http://a/?b=1", AnyUrl("http://a/?b=1")),
    ("unique", "00000000000000000000000000000001", uuid.UUID(int=1)),
    ("secret", "123456", SecretStr("123456")),
    ("day", "2026-01-02", date(2026, 1, 2)),
    ("wait", "90", timedelta(seconds=90)),
    ("layers", "[64, 32]", [64, 32]),
    ("versions", "[1.10, 007x]", ValidationError),
    ("versions", '[1.10, 2, "a"]', ["1.10", "2", "a"]),
    ("prices", f'{{"a": {LONG}}}', {"a": Decimal(LONG)}),
    ("prices.a", LONG, {"a": Decimal(LONG)}),
    ("pair", "[007, 1]", ValidationError),
    ("pair", "[1.10, 1]", ("1.10", 1)),
    ("many", "[1.10]", ("1.10",)),
    ("size", "[1, 2.50]", Size(1, "2.50")),
    ("box", '{"name": 1.10}', {"name": "1.10"}),
    ("point", '{"label": 1.10, "x": 2}', Point("1.10", 2.0)),
    ("point.label", "1.10", Point("1.10")),
    ("optimizer", '{"beta": 0.5, "name": 1.10}', Adam(beta=0.5, name="1.10")),
    ("optimizer.name", "007", Adam(name="007")),
    ("optimizer", "null", None),
    ("split", "a,b", ["a", "b"]),
    ("anything", "1.10", 1.1),
    ("anything", "[1, {}]", [1, {}]),
    ("anything", "text", "text"),
]


@pytest.mark.parametrize(("field", "text", "value"), CASES, ids=lambda value: str(value)[:30])
def test_the_type_of_the_field_decides(field: str, text: str, value: Any) -> None:
    keys = field.split(".")
    configuration: dict[str, Any] = {}
    level = configuration
    for key in keys[:-1]:
        level = level.setdefault(key, {})
    level[keys[-1]] = typed(text, Config, keys)

    if value is ValidationError:
        with pytest.raises(ValidationError):
            Config.model_validate(configuration, by_name=True)
        return
    read = getattr(Config.model_validate(configuration, by_name=True), keys[0])
    assert read == value
    assert repr(read) == repr(value)


def test_an_unknown_field_is_json_or_else_text() -> None:
    assert [typed(text, Config, ["no", "such"]) for text in ("1", "[1.5]", "null", "a")] == [1, [1.5], None, "a"]


def test_a_file_says_its_types_itself_but_decimals_keep_their_digits() -> None:
    file = parsed(f'{{"money": {LONG}, "rate": 0.5, "version": 1.10, "prices": {{"a": {LONG}}}, "x": [1]}}')

    read = typed_numbers(file, Config)

    assert read == {"money": LONG, "rate": 0.5, "version": 1.1, "prices": {"a": LONG}, "x": [1]}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[NaN]", "[" * 100_000])
def test_what_is_no_json_is_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text)


def test_numbers_are_as_python_reads_them() -> None:
    assert repr(plain(parsed("[1, 1.0, 1e3, -0.0, 18446744073709551617]"))) == (
        "[1, 1.0, 1000.0, -0.0, 18446744073709551617]"
    )
