"""A form that a link fills in."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.forms.prefill import prefill
from tests.unit.forms_config import root, stored

ROOT = root()


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ({"epochs": ["7"]}, {"epochs": 7}),
        ({"epochs": ["many"]}, {"epochs": "many"}),
        ({"rate": ["1e-3"]}, {"rate": 0.001}),
        ({"maybe": [""]}, {"maybe": None}),
        ({"flag": ["off"]}, {"flag": False}),
        ({"maybe_flag": ["true"]}, {"maybe_flag": True}),
        ({"maybe_text": [""]}, {"maybe_text": ""}),
        ({"colour": ["deep blue"]}, {"colour": "deep blue"}),
        ({"level": ["2"]}, {"level": 2}),
        ({"numbers": ["1", "2.5"]}, {"numbers": [1, 2.5]}),
        ({"numbers": ["[3]"]}, {"numbers": [3]}),
        ({"layer.size": ["3"]}, {"layer": {"size": 3}}),
        ({"optimizer.kind": ["sgd"], "optimizer.momentum": ["1"]}, {"optimizer": {"kind": "sgd", "momentum": 1}}),
        ({"optimizer.momentum": ["1"]}, {"optimizer": {"kind": "sgd", "momentum": 1}}),
        ({"open.more": ["[1]"]}, {"open": {"more": [1]}}),
        ({"pair": ['[2, "b"]']}, {"pair": [2, "b"]}),
        ({"anything": ["no json"]}, {"anything": "no json"}),
    ],
)
def test_values_are_read_as_their_fields_are(query: dict[str, list[str]], values: dict[str, Any]) -> None:
    done = prefill(ROOT, {}, query)
    assert done.refused == []
    assert done.configuration.keys() == values.keys()
    for name, value in values.items():
        found = done.configuration[name]
        assert (value.items() <= found.items()) if isinstance(value, dict) else found == value


def test_items_of_lists_are_set_one_by_one_on_what_there_was() -> None:
    done = prefill(ROOT, stored(layers=[{"size": 1}, {"size": 2}]), {"layers.1.size": ["5"], "layers.2.size": ["6"]})
    assert [layer["size"] for layer in done.configuration["layers"]] == [1, 5, 6]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("epoch", "unknown; did you mean 'epochs'?"),
        ("layer.sizes", "unknown; did you mean 'size'?"),
        ("secret", "secrets must not be in a link"),
        ("layers.0.key", "secrets must not be in a link"),
        ("layers.7.size", "it has no '7'"),
        ("epochs.more", "it has no 'more'"),
        ("__class__", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_is_not_used_is_told(key: str, why: str) -> None:
    done = prefill(ROOT, {"epochs": 1}, {key: ["1"]})
    assert done.configuration == {"epochs": 1}
    assert done.refused[0].startswith(f"{key} in the link is not used: {why}")
