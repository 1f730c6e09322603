"""Rendering of a configuration and its errors on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.http import QueryDict

from experiments import registry
from experiments.catalog.answers import describe_one
from experiments.forms.encoding import Data, encode
from experiments.forms.rendering import draw, problems_in, walk
from experiments.forms.sources import configuration_source
from experiments.forms.widget import GeneratedField
from tests.pages import HOSTILE
from tests.unit.forms_config import NAME, Demo, root, stored

ROOT = root()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """Register only the experiment of these tests."""
    registry.install(registry.Registry({Demo.name: Demo}, []))
    yield
    registry.forget()


def form_of(configuration: Any, sent: Data | None = None) -> str:
    """Return the generated form, as first shown or as shown again after it was `sent`."""
    field = GeneratedField(configuration_source(describe_one(Demo), configuration), NAME)
    value: Any = field.source.shown
    if sent is not None:
        data = QueryDict(mutable=True)
        for name, values in sent.items():
            data.setlist(name, values)
        value = field.drawing.value_from_datadict(data, {}, NAME)
        with pytest.raises(Exception, match="Fix"):
            field.clean(value)
    return str(field.drawing.render(NAME, field.prepare_value(value)))


def inputs(page: str) -> list[str]:
    return re.findall(r"<(?:input|select|textarea)\b[^>]*>", re.sub(r"<template.*?</template>", "", page, flags=re.S))


def test_every_input_is_named_once_and_no_id_is_there_twice() -> None:
    page = form_of(stored(layers=[{}, {}], maybe_layers=[{}], loose={"size": 2}))
    ids = re.findall(r'\sid="([^"]*)"', re.sub(r"<template.*?</template>", "", page, flags=re.S))
    assert len(ids) == len(set(ids))
    for tag in inputs(page):
        found = re.search(r'\sid="([^"]*)"', tag)
        assert 'type="hidden"' in tag or "aria-label" in tag or (found and f'for="{found[1]}"' in page), tag


def test_what_describes_an_input_is_there() -> None:
    page = form_of(stored(), {**encode(ROOT, stored(), NAME), f"{NAME}.epochs": ["0"]})
    for described in re.findall(r'aria-describedby="([^"]*)"', page):
        for name in described.split():
            assert f'id="{name}"' in page, name


@pytest.mark.parametrize("name", ["text", "prompt", "maybe_text", "path"])
def test_hostile_texts_are_data(name: str) -> None:
    page = form_of(stored(**{name: HOSTILE}))
    assert "<script>" not in page
    assert "<img" not in page
    assert "alert(1)" in unescape(page)


def test_hostile_names_of_rows_and_options_are_not_used() -> None:
    sent = {**encode(ROOT, stored(), NAME), f"{NAME}.layers!row": ['"><script>', "0"], f"{NAME}.epochs": ["0"]}
    assert "<script>" not in form_of(stored(), {**sent, f"{NAME}.optimizer!is": ['"><script>']})


def test_no_secret_is_shown_neither_stored_nor_typed() -> None:
    layers = [{"key": "hush"}]
    configuration = stored(secret="hush", password="hush", secrets=["hush"], layers=layers, maybe_layer=layers[0])
    assert "hush" not in form_of(configuration)
    typed = {name: ["hush"] for name in (f"{NAME}.secret", f"{NAME}.password", f"{NAME}.layers.0.key")}
    page = form_of(configuration, {**encode(ROOT, configuration, NAME), **typed, f"{NAME}.epochs": ["0"]})
    assert "hush" not in page
    assert page.count("Enter it again: secrets are not sent back") == 3


def test_a_configuration_that_no_longer_fits_shows_no_secret_either() -> None:
    odd = {**stored(), "layers": {"no list": {"key": "hush"}}, "named": {"a": {"key": "hush"}}, "gone": {"key": "hush"}}
    assert "hush" not in form_of(odd)


def test_a_problem_of_an_item_is_told_with_the_names_of_what_it_is_in() -> None:
    data = encode(ROOT, stored(layers=[{}, {}]), NAME)
    node = draw(ROOT, data, NAME, stored(), {f"{NAME}.layers.1.size": ["too small"], f"{NAME}.gone": ["lost"]})
    assert list(problems_in(node)) == [
        (f"id_{NAME}", "Configuration", f"{NAME}.gone: lost"),
        (f"id_{NAME}.layers.1.size", "Layers 2: Size", "too small"),
    ]


def test_the_input_that_is_to_be_looked_at_has_the_focus_and_no_other() -> None:
    data = encode(ROOT, stored(layers=[{}, {}]), NAME)
    node = draw(ROOT, data, NAME, stored(), {}, focus=f"{NAME}.layers.1")
    focused = [inner.name for inner in walk(node) if "autofocus" in inner.control]
    assert focused == [f"{NAME}.layers.1.size"]


def test_an_unknown_choice_is_shown_as_it_was_sent() -> None:
    sent = {**encode(ROOT, stored(), NAME), f"{NAME}.colour": ["<i>pink"]}
    assert "&lt;i&gt;pink (unknown)" in form_of(stored(), sent)
