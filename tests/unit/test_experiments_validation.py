"""Validation: refused values, their messages, and stored values that validate again."""

from __future__ import annotations

import json
import math
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field

from experiments import Experiment, Limits, RunContext
from experiments.exceptions import InvalidDefinition
from experiments.registry import Registry
from experiments.validation import (
    MASK,
    masked,
    stored_configuration,
    validate_configuration,
    validate_definition,
)


class Colour(Enum):
    RED = "red"


class Layer(BaseModel):
    size: int = Field(8, ge=1)
    activation: Literal["relu", "tanh"] = "relu"


class Adam(BaseModel):
    kind: Literal["adam"] = "adam"
    beta: float = 0.9


class Sgd(BaseModel):
    kind: Literal["sgd"] = "sgd"
    momentum: float = 0.0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int = 1


class Odd(Experiment):
    """Configuration with every supported kind of field."""

    limits = Limits(timeout_s=60)

    class Config(BaseModel):
        epochs: int = Field(ge=1)
        layers: list[Layer] = []
        named: dict[str, Layer] = {}
        optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
        either: Layer | None = None
        open: Open = Open()
        aliased: int = Field(1, alias="Alias")
        day: date | None = None
        path: Path | None = None
        colour: Colour = Colour.RED
        rate: float = 0.5
        text: str = ""
        secret: SecretStr | None = None
        secrets: list[SecretStr] = []

        @computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return 2 * self.epochs

    def run(self, ctx: RunContext[Any]) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def only_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.validation.registry", lambda: Registry({"odd": Odd}, ()))


def problems(configuration: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidDefinition) as caught:
        validate_definition("odd", configuration, **more)
    return caught.value.problems


def stored(**configuration: Any) -> dict[str, Any]:
    return validate_definition("odd", {"epochs": 1, **configuration}).configuration


def test_defaults_are_filled_in_and_computed_fields_left_out() -> None:
    configuration = stored()

    assert configuration["optimizer"] == {"kind": "adam", "beta": 0.9}
    assert configuration["aliased"] == 1
    assert "double" not in configuration


@pytest.mark.parametrize(
    ("configuration", "path", "suggestion"),
    [
        ({"epoch": 1}, "configuration.epoch", "did you mean 'epochs'?"),
        ({"layers": [{}, {"sise": 1}]}, "configuration.layers.1.sise", "did you mean 'size'?"),
        ({"named": {"a": {"activatoin": 1}}}, "configuration.named.a.activatoin", "did you mean 'activation'?"),
        (
            {"optimizer": {"kind": "sgd", "momentun": 1}},
            "configuration.optimizer.sgd.momentun",
            "did you mean 'momentum'?",
        ),
        ({"either": {"xyz": 1}}, "configuration.either.xyz", "choose from activation, size"),
        ({"double": 2}, "configuration.double", "unknown"),
    ],
)
def test_unknown_keys_are_refused_at_any_depth(configuration: Any, path: str, suggestion: str) -> None:
    by_path = problems({"epochs": 1, **configuration})

    assert list(by_path) == [path]
    assert by_path[path].startswith("unknown")
    assert suggestion in by_path[path]


def test_a_model_that_says_so_itself_stays_open() -> None:
    assert stored(open={"known": 2, "more": [1]})["open"] == {"known": 2, "more": [1]}
    assert list(problems({"epochs": 1, "open": {"more": 1}, "epoch": 2})) == ["configuration.epoch"]


def test_the_authors_model_is_left_as_it_is() -> None:
    stored()

    assert "extra" not in Odd.Config.model_config
    assert Odd.Config.model_validate({"epochs": 1, "other": 2}).model_fields_set == {"epochs"}


def test_every_problem_is_told_at_once_and_by_field() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        validate_definition("odd", {"epochs": 0}, {"timeout": 1, "kill_grace_s": -1}, ["ok", "", 3])

    assert list(caught.value.problems) == [
        "configuration.epochs", "limits.kill_grace_s", "limits.timeout", "tags.1", "tags.2",
    ]  # fmt: skip
    assert caught.value.by_field()["configuration"] == ["epochs: Input should be greater than or equal to 1"]
    assert "limits.timeout: unknown; did you mean 'timeout_s'?" in str(caught.value)


@pytest.mark.parametrize("configuration", [[], "text", 3])
def test_a_configuration_is_an_object(configuration: Any) -> None:
    assert problems(configuration) == {"configuration": "Must be an object."}


def test_an_unknown_experiment_is_a_problem_of_its_field() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        validate_definition("od")

    assert "did you mean 'odd'?" in caught.value.problems["experiment"]


def test_python_values_and_json_values_give_the_same() -> None:
    python = stored(day=date(2026, 1, 2), path=Path("/x"), colour=Colour.RED, layers=[Layer(size=3)])

    assert python == stored(day="2026-01-02", path="/x", colour="red", layers=[{"size": 3}])
    assert python["day"] == "2026-01-02"


def test_an_alias_and_its_field_are_both_taken() -> None:
    assert stored(Alias=3)["aliased"] == stored(aliased=3)["aliased"] == 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_has_no_number_for_is_refused(value: float) -> None:
    assert "finite" in problems({"epochs": 1, "rate": value})["configuration.rate"]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_a_database_refuses_is_refused(text: str) -> None:
    assert list(problems({"epochs": 1, "text": text})) == ["configuration.text"]


def test_a_huge_configuration_is_refused() -> None:
    assert "at most 262,144 are allowed" in problems({"epochs": 1, "text": "x" * 300_000})["configuration"]


def test_what_cannot_be_read_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneWay(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: object = Field(default_factory=object)

    monkeypatch.setattr(Odd, "Config", OneWay)

    assert "no JSON form" in problems({})["configuration.thing"]


def test_limits_keep_the_overrides_only() -> None:
    definition = validate_definition("odd", {"epochs": 1}, {"timeout_s": None, "kill_grace_s": "2"})

    assert definition.limits == {"timeout_s": None, "kill_grace_s": 2.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_limit_without_a_json_form_is_refused(value: float) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        validate_definition("odd", {"epochs": 1}, {"timeout_s": value, "kill_grace_s": value})

    assert {path: "finite" in problem for path, problem in caught.value.problems.items()} == {
        "limits.kill_grace_s": True, "limits.timeout_s": True,
    }  # fmt: skip


def test_tags_are_trimmed_and_kept_once() -> None:
    assert validate_definition("odd", {"epochs": 1}, None, [" a ", "b", "a"]).tags == ["a", "b"]
    assert problems({"epochs": 1}, tags="a")["tags"] == "Must be a list."
    assert "At most 50 tags" in problems({"epochs": 1}, tags=list(map(str, range(51))))["tags"]
    assert "100 characters" in problems({"epochs": 1}, tags=["x" * 101])["tags.0"]


def test_a_secret_is_stored_for_the_run_and_masked_for_people() -> None:
    configuration = stored(secret="hush", secrets=["a", "b"])

    assert configuration["secret"] == "hush"
    assert validate_configuration(Odd, configuration).secret.get_secret_value() == "hush"  # type: ignore[attr-defined]
    shown = masked("odd", configuration)
    assert shown["secret"] == MASK
    assert shown["secrets"] == [MASK, MASK]


def test_the_mask_is_never_taken_for_a_secret() -> None:
    shown = masked("odd", stored(secret="hush", secrets=["a", "b"]))
    with pytest.raises(InvalidDefinition) as caught:
        validate_definition("odd", shown)
    assert set(caught.value.problems) == {"configuration.secret", "configuration.secrets.0", "configuration.secrets.1"}


def test_secrets_of_an_experiment_that_is_gone_are_masked_by_name() -> None:
    assert masked("gone", {"api_key": "x", "n": 1, "in": [{"db_password": "y"}]}) == {
        "api_key": MASK,
        "n": 1,
        "in": [{"db_password": MASK}],
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*Odd.Config.model_fields, "other"]), VALUES), VALUES, VALUES)
def test_any_input_is_either_refused_or_stored_for_good(configuration: Any, limits: Any, tags: Any) -> None:
    try:
        definition = validate_definition("odd", configuration, limits, tags)
    except InvalidDefinition as error:
        refused = error.by_field().keys()
    else:
        refused = {}.keys()
        again = json.loads(json.dumps(definition.configuration, allow_nan=False))
        assert stored_configuration(validate_configuration(Odd, again)) == definition.configuration
    assert refused <= {"configuration", "limits", "tags"}
