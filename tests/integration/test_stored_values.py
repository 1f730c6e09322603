"""Values at the store: what a run handed over is in the database, in each export and on each command as it was."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command

from experiments.jsonvalues import pack, unpack
from runs.comparison import sections
from runs.lines import store
from runs.lines.reading import every
from runs.models import Attempt, Checkpoint, Result, Run
from runs.serializers import run_document
from runs.states import ResultKind
from tests.factories import make_attempt

pytestmark = pytest.mark.django_db

NAN, INF = math.nan, math.inf
VALUES: dict[str, tuple[Any, str]] = {
    "nan": (NAN, "nan"),
    "infinity": (-INF, "-inf"),
    "nested": ({"all": [NAN], "best": INF}, '{"all": [{"$float": "nan"}], "best": {"$float": "inf"}}'),
    "float that jsonb would make an integer": (1e16, "1e+16"),
    "largest float": (1.7976931348623157e308, "1.7976931348623157e+308"),
    "smallest float": (5e-324, "5e-324"),
    "negative zero": (-0.0, "-0.0"),
    "2**53 + 1": (2**53 + 1, "9007199254740993"),
    "10**400": (10**400, str(10**400)),
    "true": (True, "true"),
    "null": (None, "null"),
    "NUL": ("a\0b", '{"$text": "a\\\\u0000b"}'),
    "half a surrogate pair": ("\ud800", '{"$text": "\\\\ud800"}'),
    "carriage return": ("a\rb", "a\rb"),
    "line ends, quotes, commas": ('a\r\nb\n"c",d', 'a\r\nb\n"c",d'),
    "formula": ("=1+1", "'=1+1"),
    "other formulas": ("@x", "'@x"),
    "apostrophe": ("'x", "''x"),
    "text that is a number": ("-5", "-5"),
    "looks like a tag": ({"$float": "nan"}, '{"$$float": "nan"}'),
    "90 levels deep": (json.loads("[" * 90 + "]" * 90), "[" * 90 + "]" * 90),
}
EACH = pytest.mark.parametrize(("value", "cell"), VALUES.values(), ids=VALUES.keys())


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and repr(a) == repr(b)


def stored(kind: ResultKind, content: Any) -> Attempt:
    """An attempt with one result, which came the way of results; the same is its summary and metadata of its line."""
    attempt = make_attempt()
    result = msgspec.json.encode((1.5, str(kind), "=key", None, content))
    about = {"odd": content} if kind == ResultKind.RESULT else None
    line = msgspec.json.encode((1.5, 20, "log", "message", about))
    store.store_entries(attempt.run_id, [b"1:1:" + line], [b"1:1:" + result])
    Run.objects.filter(pk=attempt.run_id).update(summary={"it": content})
    return attempt


def printed(*arguments: object) -> str:
    out = io.StringIO()
    call_command(str(arguments[0]), *map(str, arguments[1:]), stdout=out)
    return out.getvalue()


@EACH
def test_a_value_is_read_from_the_database_as_it_was(value: Any, cell: str) -> None:
    attempt = stored(ResultKind.RESULT, pack(value, max_bytes=10_000))

    run = Run.objects.get(pk=attempt.run_id)
    (line,) = every(run.pk)
    assert same(unpack(Result.objects.get(run=run).value), value)
    assert same(unpack(run.summary), {"it": value})
    assert line.metadata is not None
    assert same(unpack(line.metadata["odd"]), value)


@EACH
def test_a_checkpoint_is_read_from_the_database_as_it_was(value: Any, cell: str) -> None:
    state: dict[str, Any] = {"it": (value, b"\xff"), "more": {1: {2, 3}, None: frozenset()}}
    run = make_attempt().run
    Checkpoint.objects.create(run=run, attempt=1, number=1, state=pack(state, max_bytes=10_000, keep_types=True))

    assert same(unpack(Checkpoint.objects.get(run=run).state), state)


@EACH
def test_a_value_is_in_json_as_it_was(value: Any, cell: str) -> None:
    attempt = stored(ResultKind.RESULT, pack(value, max_bytes=10_000))

    for text in (printed("export_results", attempt.run_id), printed("show_run", attempt.run_id, "--json")):
        document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        rows = document if isinstance(document, list) else document["results"]
        assert same(unpack(rows[0]["value"]), value)
    assert same(unpack(document["summary"]), {"it": value})


@EACH
def test_a_value_is_in_csv_by_the_one_rule(value: Any, cell: str, tmp_path: Path) -> None:
    attempt = stored(ResultKind.RESULT, pack(value, max_bytes=10_000))

    path = tmp_path / "out.csv"
    printed("export_results", attempt.run_id, "--format", "csv", "--output", path)
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    assert header[-1] == "value"
    assert row[-1] == cell
    assert row[5] == "'=key"


@EACH
def test_a_value_is_in_parquet_as_it_was(value: Any, cell: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    attempt = stored(ResultKind.RESULT, pack(value, max_bytes=10_000))

    path = tmp_path / "out.parquet"
    printed("export_results", attempt.run_id, "--format", "parquet", "--output", path)
    (row,) = parquet.read_table(path).to_pylist()
    read = unpack(json.loads(row["value"])) if row["number"] is None else row["number"]
    assert same(read, value)


@EACH
def test_commands_and_the_comparison_answer(value: Any, cell: str) -> None:
    attempt = stored(ResultKind.RESULT, pack(value, max_bytes=10_000))

    assert "summary" in printed("show_run", attempt.run_id)
    assert "message" in printed("tail_run", attempt.run_id)
    run = Run.objects.get(pk=attempt.run_id)
    assert sections([run, run])
    assert run_document(run)["summary"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_metric_that_is_not_finite_is_told_from_text(text: str) -> None:
    attempt = stored(ResultKind.METRIC, text)

    (row,) = json.loads(printed("export_results", attempt.run_id))
    assert row["value"] == {"$float": text}
    assert printed("export_results", attempt.run_id, "--format", "csv").splitlines()[1].endswith(f",{text}")
