"""Buttons of lists, applied to the data of a form."""

from __future__ import annotations

import pytest

from experiments.forms.decoding import decode, rows
from experiments.forms.encoding import LIST_INPUTS_MAX, Data, encode
from experiments.forms.list_edits import edit
from tests.unit.forms_config import NAME, root, stored

ROOT = root()
LIST = f"{NAME}.layers"


def data_of(**values: object) -> Data:
    return encode(ROOT, stored(**values), NAME)


THREE = data_of(layers=[{"size": 1, "key": "a"}, {"size": 2, "key": "b"}, {"size": 3}])


@pytest.mark.parametrize(
    ("command", "ids", "focus"),
    [
        (f"add {LIST}", ["0", "1", "2", "n0"], f"{LIST}.n0"),
        (f"remove {LIST} 1", ["0", "2"], LIST),
        (f"up {LIST} 1", ["1", "0", "2"], f"{LIST}.1"),
        (f"down {LIST} 1", ["0", "2", "1"], f"{LIST}.1"),
        (f"up {LIST} 0", ["0", "1", "2"], f"{LIST}.0"),
        (f"down {LIST} 2", ["0", "1", "2"], f"{LIST}.2"),
        (f"remove {LIST} 9", ["0", "1", "2"], ""),
        (f"remove {NAME}.epochs 0", ["0", "1", "2"], ""),
        ("add elsewhere", ["0", "1", "2"], ""),
        (f"explode {LIST} 1", ["0", "1", "2"], f"{LIST}.1"),
        ("", ["0", "1", "2"], ""),
    ],
)
def test_each_button_does_what_it_says(command: str, ids: list[str], focus: str) -> None:
    edited, focused = edit(ROOT, THREE, NAME, command)
    assert (rows(edited, LIST), focused) == (ids, focus)


def test_secrets_follow_their_items() -> None:
    configuration = stored(layers=[{"size": 1, "key": "a"}, {"size": 2, "key": "b"}])
    made, _ = edit(ROOT, encode(ROOT, configuration, NAME), NAME, f"down {LIST} 0")
    made, _ = edit(ROOT, made, NAME, f"add {LIST}")
    read = decode(ROOT, made, NAME, configuration).configuration
    assert [(layer["size"], layer.get("key")) for layer in read["layers"]] == [(2, "b"), (1, "a"), (8, None)]


def test_nothing_is_left_of_a_removed_item() -> None:
    made, _ = edit(ROOT, THREE, NAME, f"remove {LIST} 1")
    assert not [name for name in made if name.startswith(f"{LIST}.1")]


def test_a_list_within_an_item_and_one_that_was_not_there_get_items() -> None:
    made, focus = edit(ROOT, THREE, NAME, f"add {LIST}.2.names")
    assert focus == f"{LIST}.2.names.n0"
    made, focus = edit(ROOT, made, NAME, f"add {NAME}.maybe_layers")
    read = decode(ROOT, made, NAME).configuration
    assert (read["layers"][2]["names"], len(read["maybe_layers"])) == ([""], 1)


def test_a_list_does_not_grow_beyond_what_a_form_can_show() -> None:
    data = data_of(numbers=[])
    for _ in range(LIST_INPUTS_MAX):
        data, _ = edit(ROOT, data, NAME, f"add {NAME}.numbers")
    assert len(rows(data, f"{NAME}.numbers")) <= LIST_INPUTS_MAX
