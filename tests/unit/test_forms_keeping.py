"""Secrets follow a changed configuration only where everything else of their model is unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from experiments.forms.decoding import decode
from experiments.forms.encoding import encode
from experiments.forms.introspection import describe_form
from experiments.forms.keeping import apart, lent, merged, pinned
from experiments.sealing import StoredSecret
from experiments.validation import MASK
from tests.unit.forms_config import NAME, through_browser

pytestmark = pytest.mark.any_database


class Endpoint(BaseModel):
    base_url: str = "https://own.example"
    key: SecretStr | None = None


class Other(BaseModel):
    address: str = "https://own.example"
    key: SecretStr | None = None


class Config(BaseModel):
    epochs: int = 3
    rate: float = 1.0
    endpoint: Endpoint = Endpoint()
    mirrors: list[Endpoint] = []
    either: Endpoint | Other = Endpoint()
    headers: dict[str, SecretStr] = {}
    named: dict[str, Endpoint] = {}
    tokens: list[SecretStr] = []
    token: SecretStr | None = None


ROOT = describe_form(Config)
SECRET = "hush"
STORED: dict[str, Any] = {
    **Config().model_dump(mode="json"),
    "endpoint": {"base_url": "https://own.example", "key": SECRET},
    "mirrors": [{"base_url": "a", "key": SECRET}, {"base_url": "b", "key": SECRET}],
    "either": {"base_url": "https://own.example", "key": SECRET},
    "headers": {"Authorization": SECRET},
    "named": {"one": {"base_url": "a", "key": SECRET}},
    "tokens": [SECRET],
    "token": SECRET,
}
SHOWN = json.loads(json.dumps(STORED).replace(SECRET, MASK))
OF_ROOT = {"token", "tokens.0", "headers.Authorization", "named.one.key"}

CHANGES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("nothing", {}, set()),
    ("an equal number", {"rate": 1}, set()),
    ("a value of the same model", {"epochs": 4}, OF_ROOT),
    ("a value of an inner model", {"endpoint": {**SHOWN["endpoint"], "base_url": "evil"}}, {"endpoint.key", *OF_ROOT}),
    ("an item", {"mirrors": [{**SHOWN["mirrors"][0], "base_url": "evil"}, SHOWN["mirrors"][1]]},
     {"mirrors.0.key", *OF_ROOT}),
    ("another key of a mapping", {"headers": {"Authorization": MASK, "Host": "evil"}}, OF_ROOT),
    ("a model in a mapping", {"named": {"one": {"base_url": "evil", "key": MASK}}}, OF_ROOT),
    ("a new secret beside it", {"token": "new"}, OF_ROOT - {"token"}),
    ("all secrets with it", {"epochs": 4, "token": "new", "tokens": [], "headers": {}, "named": {}}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("change", "refused"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
@pytest.mark.parametrize("is_json", [True, False], ids=["JSON", "fields"])
def test_a_form_keeps_secrets_only_where_all_else_is_unchanged(
    change: dict[str, Any], refused: set[str], is_json: bool
) -> None:
    shown = {**SHOWN, **change}
    data = {f"{NAME}!json": [json.dumps(shown)]} if is_json else through_browser(encode(ROOT, shown, NAME))
    for name, value in (("token", shown["token"]), ("endpoint.key", shown["endpoint"]["key"])):
        if not is_json and value != MASK:
            data[f"{NAME}.{name}"] = [value]

    read = decode(ROOT, data, NAME, STORED)

    if refused:
        assert all("Enter it again" in text for text in read.problems.values())
        assert f"{NAME}" in read.problems if is_json else {f"{NAME}.{path}" for path in refused} & read.problems.keys()
    else:
        assert read.problems == {}
        assert read.configuration == json.loads(json.dumps(shown).replace(MASK, SECRET))
    kept = json.dumps(read.configuration).count(SECRET)
    assert kept == json.dumps(shown).count(MASK) - len(refused)


@pytest.mark.parametrize(("change", "refused"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_overrides_of_an_instance_keep_secrets_by_the_same_rule(change: dict[str, Any], refused: set[str]) -> None:
    stored = {name: value for name, value in STORED.items() if name not in change}
    over = json.loads(json.dumps(change).replace(MASK, SECRET))

    merged_value, kept = merged(ROOT, {**lent(SHOWN, STORED), **over}, STORED)

    assert {each.path for each in kept} == {path for path in refused if path.split(".")[0] in stored}
    assert (merged_value == {**STORED, **over}) == (not kept)


def test_a_secret_that_is_no_text_is_kept_by_the_same_rule() -> None:
    stored = {"epochs": 3, "pin": 1234}
    shown = lent({"epochs": 3, "pin": MASK}, stored)
    assert merged(ROOT, shown, stored) == (stored, [])
    changed, [kept] = merged(ROOT, {**shown, "epochs": 4}, stored)
    assert (changed["pin"], kept.secret, kept.path) == (None, 1234, "pin")


def test_the_same_option_of_a_union_keeps_its_secret_and_another_one_does_not() -> None:
    for option, expected in (({"base_url": "https://own.example"}, 0), ({"address": "https://own.example"}, 1)):
        _, kept = merged(ROOT, {**STORED, "either": {**option, "key": lent(MASK, SECRET, "either.key")}}, STORED)
        assert [each.path for each in kept] == ["either.key"] * expected


def test_a_mask_without_a_stored_secret_stays_a_mask_that_validation_refuses() -> None:
    data = {f"{NAME}!json": [json.dumps({"token": MASK, "mirrors": [{"base_url": "x", "key": MASK}]})]}
    assert decode(ROOT, data, NAME, {"epochs": 3}).configuration["token"] == MASK
    assert decode(ROOT, data, NAME, {**STORED, "token": None}).configuration["mirrors"][0]["key"] == MASK


HELD = StoredSecret("held")
FULL: dict[str, Any] = {**STORED, "epochs": 9, "headers": {"Host": "own"}}


@pytest.mark.parametrize(
    ("own", "complete"),
    [
        ({"epochs": 9}, {"epochs": 9}),
        ({"token": HELD}, FULL),
        ({"token": StoredSecret("env:LAB_KEY")}, {"token": "env:LAB_KEY"}),
        ({"tokens": [HELD]}, FULL),
        ({"headers": {"Authorization": HELD}}, FULL),
        ({"named": {"one": {"key": HELD}}}, FULL),
        ({"endpoint": {"key": HELD}}, {"endpoint": FULL["endpoint"]}),
        ({"either": {"key": HELD}}, {"either": FULL["either"]}),
        ({"mirrors": [{"key": HELD}]}, {"mirrors": [{"key": HELD}]}),
        ({"endpoint": {"base_url": "x"}, "epochs": 9}, {"endpoint": {"base_url": "x"}, "epochs": 9}),
    ],
)
def test_a_model_with_a_secret_of_its_own_does_not_follow_what_it_overrides(
    own: dict[str, Any], complete: dict[str, Any]
) -> None:
    assert pinned(ROOT, own, FULL) == complete
    changed = {**FULL, **own, "headers": {**FULL["headers"], "X-Added": "evil"}, "rate": 5.0}
    taken = apart(ROOT, own, changed)
    held = complete is FULL
    assert taken == (own if held else {**changed, **{name: own[name] for name in complete}})


@pytest.mark.parametrize("depth", [100, 400, 900, 5000])
@pytest.mark.parametrize("place", ["!json", ".headers!json"])
def test_json_that_is_nested_too_deeply_is_a_problem_and_no_error(depth: int, place: str) -> None:
    deep = '{"x":' * depth + f'"{MASK}"' + "}" * depth
    data = {**encode(ROOT, SHOWN, NAME), f"{NAME}{place}": [deep]}
    read = decode(ROOT, data, NAME, STORED)
    json.dumps(read.configuration)
    assert depth < 5000 or "Nested too deeply." in read.problems.values()
