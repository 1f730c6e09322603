"""Form field of each kind of model field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model

from experiments.forms.fields import MISSING, Kind
from experiments.forms.introspection import describe_form, describe_schema
from tests.unit.forms_config import Everything, Layer, root

ROOT = root()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("epochs", Kind.INTEGER), ("rate", Kind.NUMBER), ("either_number", Kind.NUMBER), ("maybe", Kind.INTEGER),
        ("decimal", Kind.TEXT), ("flag", Kind.SWITCH), ("maybe_flag", Kind.CHOICE), ("text", Kind.TEXT),
        ("colour", Kind.CHOICE), ("level", Kind.CHOICE), ("mixed", Kind.CHOICE), ("day", Kind.TEXT),
        ("layers", Kind.LIST), ("maybe_layers", Kind.LIST), ("words", Kind.LIST), ("layer", Kind.GROUP),
        ("optimizer", Kind.VARIANT), ("loose", Kind.VARIANT), ("open", Kind.GROUP), ("named", Kind.JSON),
        ("pair", Kind.JSON), ("anything", Kind.JSON), ("secret", Kind.SECRET), ("password", Kind.SECRET),
    ],
)  # fmt: skip
def test_every_type_has_its_kind_of_field(name: str, kind: Kind) -> None:
    field = ROOT.get(name)
    assert field is not None
    assert field.kind == kind


def test_every_field_of_the_model_is_in_the_form() -> None:
    assert {field.name for field in ROOT.fields} == set(Everything.model_fields)


def field_of(annotation: Any, **said: Any) -> Any:
    return describe_form(create_model("M", it=(annotation, Field(**said)))).get("it")


@pytest.mark.parametrize(
    ("annotation", "said", "hints"),
    [
        (int, {"ge": 1, "le": 10_000}, ("1 to 10,000",)),
        (float, {"gt": 0, "lt": 0.5}, ("above 0", "below 0.5")),
        (int | None, {"ge": 1, "multiple_of": 2}, ("at least 1", "a multiple of 2")),
        (str, {"min_length": 1, "max_length": 5}, ("at least 1 character", "at most 5 characters")),
        (list[int], {"min_length": 1}, ("at least 1 item",)),
    ],
)
def test_bounds_are_told_in_words(annotation: Any, said: dict[str, Any], hints: tuple[str, ...]) -> None:
    assert field_of(annotation, **said).hints == hints


def test_a_unit_at_the_end_of_a_name_is_shown_beside_the_input() -> None:
    timeout = ROOT.get("timeout_s")
    assert timeout is not None
    assert (timeout.title, timeout.unit) == ("Timeout", "s")
    assert ROOT.get("epochs").unit == "epochs"  # type: ignore[union-attr]


def test_a_model_within_itself_ends_as_json() -> None:
    below = ROOT.get("tree").get("below")  # type: ignore[union-attr]
    assert below.kind == Kind.JSON  # type: ignore[union-attr]


def test_what_has_no_schema_is_one_field_of_json() -> None:
    class Odd(BaseModel):
        @classmethod
        def __get_pydantic_json_schema__(cls, *args: Any) -> Any:
            raise RuntimeError("no schema")

    assert describe_form(Odd).kind == Kind.JSON


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"$ref": "#/$defs/A"}, {"allOf": []}, {"anyOf": [{}, {}]}])
def test_any_schema_is_described(schema: dict[str, Any]) -> None:
    assert describe_schema(schema).default is MISSING


def test_a_factory_is_asked_for_its_default_and_a_failing_one_is_none() -> None:
    def fails() -> int:
        raise RuntimeError

    assert field_of(list[Layer], default_factory=lambda: [Layer(size=2)]).default[0]["size"] == 2
    assert field_of(int, default_factory=fails).default is MISSING
