"""Place of an error in the form: at its field, or at the nearest field around it."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.exceptions import InvalidDefinition
from experiments.forms.encoding import encode
from experiments.forms.error_paths import place
from experiments.validation import validate_configuration
from tests.unit.forms_config import NAME, Demo, root, stored

ROOT = root()


def placed(configuration: dict[str, Any]) -> dict[str, list[str]]:
    with pytest.raises(InvalidDefinition) as caught:
        validate_configuration(Demo, configuration)
    problems = {path.partition(".")[2]: message for path, message in caught.value.problems.items()}
    return place(ROOT, encode(ROOT, configuration, NAME), NAME, problems)


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"epochs": 0}, "epochs", "greater than or equal to 1"),
        ({"layers": [{}, {"size": 0}]}, "layers.1.size", "greater than or equal to 1"),
        ({"layers": [{"names": [1]}]}, "layers.0.names.0", "valid string"),
        ({"maybe_layers": [{"size": "x"}]}, "maybe_layers.0.size", "valid integer"),
        ({"optimizer": {"kind": "adam", "beta": 2}}, "optimizer!0.beta", "less than 1"),
        ({"optimizer": {"kind": "sgd", "momentum": "x"}}, "optimizer!1.momentum", "valid number"),
        ({"loose": {"size": 0}}, "loose!0.size", "greater than or equal to 1"),
        ({"open": {"known": "x"}}, "open.known", "valid integer"),
        ({"called": "x"}, "called", "valid integer"),
        ({"layer": {"gone": 1}}, "layer", "gone: unknown"),
        ({"named": {"a": {"size": 0}}}, "named", "a.size: "),
        ({"pair": [1]}, "pair", "1: Field required"),
        ({"epoch": 1}, "", "epoch: unknown; did you mean 'epochs'?"),
    ],
)
def test_an_error_is_told_where_it_is(changes: dict[str, Any], name: str, message: str) -> None:
    found = placed({**stored(), **changes})
    assert list(found) == [f"{NAME}.{name}" if name else NAME]
    assert message in found[f"{NAME}.{name}" if name else NAME][0]


def test_of_a_union_only_the_chosen_option_complains() -> None:
    data = encode(ROOT, stored(loose=[1, 2]), NAME)
    problems = {"loose.Layer": "no object", "loose.list[int].1": "no integer", "loose.int": "no integer"}
    assert place(ROOT, data, NAME, problems) == {f"{NAME}.loose!1.1": ["no integer"]}
    assert place(ROOT, data, NAME, {"loose.Layer": "no object"}) == {f"{NAME}.loose": ["no object"]}


def test_an_item_is_found_by_its_place_whatever_its_id() -> None:
    data = encode(ROOT, stored(layers=[{}, {}]), NAME)
    data[f"{NAME}.layers!row"] = ["", "n7", "0"]
    assert place(ROOT, data, NAME, {"layers.1.size": "a", "layers.0.size": "b", "layers.9.size": "c"}) == {
        f"{NAME}.layers.0.size": ["a"], f"{NAME}.layers.n7.size": ["b"], f"{NAME}.layers": ["9.size: c"],
    }  # fmt: skip
