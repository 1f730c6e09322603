"""Record format: encoded records are decoded, and unreadable ones become visible."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines import records
from runs.states import AttemptKey, Level, Source

KEY = AttemptKey(5, 3)


def line_entry(*payload: Any) -> bytes:
    return records.entry(KEY, 9, records.encode(records.LINE, payload))


@given(st.text().filter(lambda t: "\0" not in t and not any(0xD800 <= ord(c) < 0xE000 for c in t)))
def test_a_line_survives_the_way(message: str) -> None:
    line = records.decode_line(line_entry(1.5, Level.ERROR, Source.STDERR, message, {"a": [1]}))
    assert line == (3, 9, 1.5, 40, "stderr", message, {"a": [1]})


def test_nul_is_shown() -> None:
    line = records.decode_line(line_entry(1.0, 20, "log", "a\0b", {"k\0": ["v\0"]}))
    assert (line.message, line.metadata) == ("a␀b", {"k␀": ["v␀"]})


@given(st.binary())
def test_no_body_makes_decoding_raise(body: bytes) -> None:
    entry = b"3:9:" + body
    assert records.decode_line(entry)[:2] == (3, 9)
    assert records.decode_result(entry)[:2] == (3, 9)


@pytest.mark.parametrize(
    "payload", [(1.0, 99, "log", "m", None), (1.0, 20, "elsewhere", "m", None), (1.0, 20, "log", 5, None)]
)
def test_a_line_that_is_none_is_shown_as_such(payload: tuple[Any, ...]) -> None:
    line = records.decode_line(line_entry(*payload))
    assert line.source == Source.SYSTEM
    assert line.message.startswith("unreadable record")


def result_entry(*payload: Any) -> bytes:
    return records.entry(KEY, 1, records.encode(records.RESULT, payload))


def test_a_metric_has_a_number() -> None:
    assert records.decode_result(result_entry(1.0, "metric", "loss", 3, 0.5))[3:] == ("metric", "loss", 3, 0.5, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_kept_as_text(value: float) -> None:
    found = records.decode_result(result_entry(1.0, "metric", "loss", None, str(value)))
    assert (found.number, found.value) == (None, str(value))


def test_a_result_keeps_its_value() -> None:
    assert records.decode_result(result_entry(1.0, "result", "best", None, {"a": [1, None]}))[4:] == (
        "best", None, None, {"a": [1, None]},
    )  # fmt: skip


def test_a_position_is_read_without_the_body() -> None:
    assert records.position(b"12:345:garbage:with:colons") == (12, 345)


@pytest.mark.parametrize("depth", [records.DEPTH_MAX + 1, 990, 50_000])
def test_what_is_nested_too_deep_is_shown_and_not_stored(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    line = records.decode_line(b'3:9:[1.0,20,"log","m",{"a":' + nested + b"}]")
    result = records.decode_result(b'3:9:[1.0,"result","k",null,' + nested + b"]")
    assert (line.source, line.message[:17]) == (Source.SYSTEM, "unreadable record")
    assert result.key == "unreadable"


@pytest.mark.parametrize("value", [b"1" + b"0" * 400, b'"much"', b"null", b"[1]"])
def test_a_metric_that_is_no_number_is_shown(value: bytes) -> None:
    assert records.decode_result(b'3:9:[1.0,"metric","loss",1,' + value + b"]").key == "unreadable"
