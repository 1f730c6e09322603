"""Whatever a configuration is, its form gives it back unchanged; whatever is sent, something is read."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.forms.decoding import decode
from experiments.forms.encoding import INPUTS_MAX, concealed, encode
from experiments.forms.fields import same
from experiments.validation import validate_configuration
from tests.unit.forms_config import NAME, Demo, Layer, root, stored, through_browser

ROOT = root()
TEXT = st.text(max_size=8) | st.sampled_from(["", "\n", "\r\n", "a\rb", "\nx", " ", "null", "1", "true", "é\t"])
STORABLE = TEXT.filter(lambda text: "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
INTS = st.integers(-(10**30), 10**30)
SECRETS = st.none() | STORABLE
LAYER = st.fixed_dictionaries(
    {"size": st.integers(1, 1024), "activation": st.sampled_from(["relu", "tanh"])},
    optional={"names": st.lists(STORABLE, max_size=3), "key": SECRETS},
)
NODE = st.recursive(
    st.fixed_dictionaries({"name": STORABLE}),
    lambda below: st.fixed_dictionaries({"name": STORABLE, "below": st.lists(below, max_size=2)}),
    max_leaves=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | FINITE | STORABLE,
    lambda below: st.lists(below, max_size=2) | st.dictionaries(STORABLE, below, max_size=2),
    max_leaves=4,
)
CONFIGURATIONS = st.fixed_dictionaries(
    {"needed": INTS, "needed_text": STORABLE},
    optional={
        "rate": FINITE | INTS.map(float),
        "either_number": INTS | FINITE,
        "maybe": st.none() | INTS,
        "flag": st.booleans(),
        "maybe_flag": st.none() | st.booleans(),
        "text": STORABLE,
        "maybe_text": st.none() | STORABLE,
        "prompt": STORABLE,
        "colour": st.sampled_from(["red", "deep blue"]),
        "maybe_colour": st.sampled_from([None, "red"]),
        "level": st.sampled_from([1, 2]),
        "mixed": st.sampled_from(["1", 1, True, None]),
        "day": st.none() | st.dates().map(str),
        "moment": st.datetimes(timezones=st.just(UTC) | st.none()).map(lambda at: at.isoformat()),
        "layers": st.lists(LAYER, max_size=4),
        "maybe_layers": st.none() | st.lists(LAYER, max_size=1),
        "numbers": st.lists(FINITE, max_size=4),
        "words": st.lists(STORABLE, max_size=1),  # the order of more is not kept by a set
        "maybe_layer": st.none() | LAYER,
        "optimizer": st.fixed_dictionaries({"kind": st.just("sgd"), "momentum": FINITE, "key": SECRETS})
        | st.fixed_dictionaries({"kind": st.just("adam"), "key": SECRETS}),
        "loose": st.none() | LAYER | st.lists(INTS, max_size=3) | INTS | STORABLE,
        "open": st.dictionaries(STORABLE.filter(lambda key: key != "known"), JSON, max_size=2),
        "named": st.dictionaries(STORABLE, LAYER, max_size=2),
        "tree": NODE,
        "anything": JSON,
        "secret": SECRETS,
        "password": STORABLE,
        "secrets": st.lists(STORABLE, max_size=3),
    },
)


@settings(max_examples=300, deadline=None)
@given(CONFIGURATIONS)
def test_a_configuration_comes_back_from_its_form_with_its_secrets(values: dict[str, Any]) -> None:
    configuration = stored(**values)
    shown = concealed(ROOT, masked_dump(configuration), is_trusted=True)

    read = decode(ROOT, through_browser(encode(ROOT, shown, NAME)), NAME, configuration)

    assert read.problems == {}
    assert same(read.configuration, configuration)
    assert same(validate_configuration(Demo, read.configuration).model_dump(mode="json"), masked_dump(configuration))


@pytest.mark.parametrize("is_trusted", [True, False])
def test_no_secret_is_in_the_data_of_a_form(is_trusted: bool) -> None:
    """Not even where the configuration no longer fits, so that all that is known of its secrets is the form's."""
    layer = {"key": "hush", "size": 2}
    odd = {**stored(), "secret": "hush", "password": "hush", "secrets": ["hush"], "maybe_layer": layer}
    odd |= {"layers": {"no list": layer}, "layer": {**layer, "gone": "hush"}, "loose": layer}
    odd |= {"optimizer": {"kind": "sgd", "key": "hush"}}
    if not is_trusted:
        odd |= {"named": {"a": layer}}

    shown = concealed(ROOT, odd, is_trusted=is_trusted)

    assert "hush" not in json.dumps(encode(ROOT, shown, NAME))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_sent_something_is_read(data: st.DataObject) -> None:
    names = sorted(encode(ROOT, stored(layers=[{}], numbers=[1.0]), NAME))
    extra = [name + mark for name in names[:20] for mark in ("!json", "!is", "!row", "!on", ".x", "!9.kind")]
    sent = data.draw(
        st.dictionaries(st.sampled_from(names + extra), st.lists(TEXT | JSON.map(json.dumps), max_size=3), max_size=12)
    )

    read = decode(ROOT, {f"{NAME}!on": ["on"], **sent}, NAME, stored())

    json.dumps(read.configuration)


def test_what_was_not_sent_is_left_out() -> None:
    assert decode(ROOT, {f"{NAME}!on": ["on"], f"{NAME}.epochs": ["7"]}, NAME).configuration == {"epochs": 7}


def test_a_huge_list_is_json_so_that_the_form_stays_small() -> None:
    configuration = stored(layers=[Layer(size=n % 1000 + 1).model_dump() for n in range(2000)], numbers=[0.5] * 5000)

    data = encode(ROOT, configuration, NAME)

    assert sum(map(len, data.values())) < INPUTS_MAX
    assert same(decode(ROOT, data, NAME, configuration).configuration, configuration)


def test_a_value_that_does_not_fit_its_field_is_json_at_its_place() -> None:
    odd = {**stored(), "flag": "yes", "layers": {"no": "list"}, "epochs": "three", "layer": {"gone": 1}}

    data = encode(ROOT, odd, NAME)

    assert data[f"{NAME}.flag!json"] == ['"yes"']
    assert data[f"{NAME}.epochs"] == ["three"]
    assert json.loads(data[f"{NAME}.layer!json"][0]) == {"gone": 1}
    assert same(decode(ROOT, data, NAME, odd).configuration, odd)


def masked_dump(configuration: dict[str, Any]) -> dict[str, Any]:
    return validate_configuration(Demo, configuration).model_dump(mode="json", round_trip=True)
