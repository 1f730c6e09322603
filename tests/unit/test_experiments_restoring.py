"""A configuration is validated once: what is accepted is what the run gets, or the launch is refused, with a reason."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    BaseModel,
)

from experiments import Experiment, RunContext
from experiments.exceptions import InvalidDefinition
from experiments.registry import Registry
from experiments.validation import restored_configuration, validate_definition
from tests.unit.restoring_models import (
    Appends,
    Arbitrary,
    Before,
    ByAlias,
    Colour,
    Counts,
    Derived,
    Each,
    Excluded,
    ExcludedAndNeeded,
    Handle,
    Inner,
    Locked,
    Masked,
    Open,
    Percent,
    PercentOfDefault,
    Remembers,
    Renames,
    Rounds,
    WrongDefault,
)

BERLIN = ZoneInfo("Europe/Berlin")
ANY = object()


def named(value: type | str | dict[str, Any]) -> str:
    if isinstance(value, type):
        return value.__name__
    return " ".join(value)[:30] if isinstance(value, dict) else value[:30]


KEPT: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (Each, {}),
    (Each, {"number": 1, "whole": 2**64, "money": "0.1234567890123456789012345678"}),
    (Each, {"number": 1e300, "either": "1.10"}),
    (Each, {"either": 7, "raw": b"\xc3\xa4", "text": "ä\r\n"}),
    (Each, {"at": datetime(2026, 3, 1, 12, tzinfo=UTC), "day": date(2026, 1, 1), "wait": timedelta(0, 1, 1)}),
    (Each, {"at": datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))}),
    (Each, {"at": "2026-03-01T12:00:00.123456+02:00"}),
    (Each, {"at": datetime(2026, 3, 1, 12)}),  # noqa: DTZ001
    (Each, {"path": Path("a/b"), "colour": "red", "colours": [Colour.RED], "numbers": [3, 1]}),
    (Each, {"pair": (3, "b"), "items": [2], "by_number": {1: "a", 2: "b"}}),
    (Each, {"anything": {"a": [1, 2.5, None, True, "x"]}, "kind": None}),
    (Each, {"inner": Inner(names=("a",)), "inners": {"x": [{"rate": 1}]}, "frozen": {"n": 2}, "point": {"x": 1}}),
    (Each, {"size": [3, 4], "tree": {"a": [1]}}),
    (Each, {"secret": "s", "secret_bytes": "s", "secret_day": "2026-01-01"}),
    (Each, {"Alias": 5}),
    (ByAlias, {"in": 3}),
    (Open, {"extra": [1, {"a": 2}]}),
    (Locked, {"n": 4}),
    (Before, {"layers": "1,2,3"}),
    (Excluded, {}),
    (Arbitrary, {"handle": "disk"}),
    (Percent, {"v": 0}),
]

REFUSED: list[tuple[type[BaseModel], dict[str, Any], str, str]] = [
    (Percent, {"v": 50}, "v", "0.5 becomes 0.005"),
    (Percent, {}, "v", "50"),
    (PercentOfDefault, {}, "v", "0.5 becomes 0.005"),
    (Appends, {}, "layers", "[1] becomes [1, 1]"),
    (Renames, {}, "name", "'xa' becomes 'xxa'"),
    (Excluded, {"token": "x"}, "token", "exclude=True"),
    (ExcludedAndNeeded, {"token": "x"}, "token", "exclude=True"),
    (Masked, {}, "token", "serializer"),
    (Masked, {"token": "x"}, "token", "serializer"),
    (Rounds, {"x": 0.123}, "x", "serializer"),
    (Counts, {}, "n", "validator"),
    (Remembers, {}, "_raw", "private attribute"),
    (WrongDefault, {}, "n", "Accepted, but its stored form is not"),
    (Each, {"at": datetime(2026, 3, 1, tzinfo=BERLIN)}, "at", "not its zone Europe/Berlin"),
    (Each, {"raw": b"\xff"}, "raw", "no JSON form"),
    (Each, {"secret_bytes": b"\xff"}, "", "no JSON form"),
    (Each, {"anything": (1, 2)}, "anything", "Accepted as tuple, but the stored form gives back list"),
    (Each, {"anything": {"a": {1: 2}}}, "anything.a", "keys of another type"),
    (Each, {"anything": {1}}, "anything", "Accepted as set"),
    (Each, {"anything": Decimal("1.1")}, "anything", "Accepted as Decimal"),
    (Each, {"anything": Colour.RED}, "anything", "Accepted as Colour"),
    (Each, {"anything": object()}, "anything", "no JSON form"),
    (Each, {"inner": Derived()}, "inner", "Accepted as Derived"),
    (Each, {"inner": {"rate": math.nan}}, "inner.rate", "finite"),
    (Each, {"number": math.inf}, "number", "finite"),
    (Each, {"whole": 10**4299}, "whole", "digits"),
    (Each, {"text": "a\0"}, "text", "NUL"),
]


MADE_ANEW = {"made", "seen", "path", "items"}
"""Fields of Each that a factory gives, or that are as declared only after validation."""


def shape(value: Any) -> Any:
    return vars(value) if isinstance(value, Handle) else value


def experiment(monkeypatch: pytest.MonkeyPatch, config: type[BaseModel]) -> type[Experiment]:
    class Probe(Experiment):
        Config = config  # type: ignore[assignment]

        def run(self, ctx: RunContext[Any]) -> None:
            """Nothing."""

    monkeypatch.setattr("experiments.validation.registry", lambda: Registry({"probe": Probe}, ()))
    return Probe


@pytest.mark.parametrize(("config", "data"), KEPT, ids=named)
def test_what_is_accepted_is_what_the_run_gets(
    monkeypatch: pytest.MonkeyPatch, config: type[BaseModel], data: dict[str, Any]
) -> None:
    probe = experiment(monkeypatch, config)

    definition = validate_definition("probe", data)
    stored = json.loads(json.dumps(definition.configuration, allow_nan=False))
    in_the_run = restored_configuration(probe, stored)
    in_a_rerun = restored_configuration(probe, validate_definition("probe", stored).configuration)

    accepted = config.model_validate(data)
    for name in config.model_fields.keys() - MADE_ANEW:
        assert shape(getattr(in_the_run, name)) == shape(getattr(accepted, name))
    assert in_the_run.model_extra == accepted.model_extra
    assert repr(in_the_run) == repr(in_a_rerun) or config is Arbitrary


@pytest.mark.parametrize(
    ("config", "data", "path", "reason"),
    REFUSED,
    ids=named,
)
def test_what_the_stored_form_cannot_give_back_is_refused(
    monkeypatch: pytest.MonkeyPatch, config: type[BaseModel], data: dict[str, Any], path: str, reason: str
) -> None:
    experiment(monkeypatch, config)

    with pytest.raises(InvalidDefinition) as caught:
        validate_definition("probe", data)

    ((where, why),) = caught.value.problems.items()
    assert where == f"configuration.{path}".rstrip(".")
    assert reason in why
    assert "t0ken" not in why


def test_a_default_gets_the_type_of_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = experiment(monkeypatch, Each)

    config: Any = restored_configuration(probe, validate_definition("probe").configuration)

    assert (config.path, config.items) == (Path("data"), [1, 2])
