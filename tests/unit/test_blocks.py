"""Blocks: consecutive records in one value, and the values of earlier versions."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines import blocks, records
from runs.lines.blocks import BLOCK_MAX_BYTES, Span
from runs.states import AttemptKey, Level, Source

KEY = AttemptKey(7, 2)
BODIES = st.lists(st.binary(max_size=60).map(lambda body: body.replace(b"\n", b"")), min_size=1, max_size=20)


@given(BODIES, st.integers(1, 2**62))
def test_each_record_keeps_its_bytes_and_its_seq(bodies: list[bytes], first: int) -> None:
    (value,) = blocks.pack(KEY, first, [b"L" + body for body in bodies])
    assert blocks.span(value) == (2, first, first + len(bodies) - 1)
    assert blocks.entries(value) == [b"2:%d:%b" % (seq, body) for seq, body in enumerate(bodies, first)]


def test_large_records_are_spread_over_several_blocks() -> None:
    bodies = [b"L" + b"x" * 1000 * n for n in range(100)]
    values = blocks.pack(KEY, 1, bodies)
    assert all(len(value) < BLOCK_MAX_BYTES + 100 or blocks.span(value).size == 1 for value in values)
    assert [entry for value in values for entry in blocks.entries(value)] == [
        b"2:%d:%b" % (seq, body[1:]) for seq, body in enumerate(bodies, 1)
    ]


def test_no_records_make_no_block() -> None:
    assert blocks.pack(KEY, 1, []) == []


def test_a_value_of_an_earlier_version_is_one_entry() -> None:
    value = b"2:9:[1.0,2]"
    assert blocks.span(value) == Span(2, 9, 9)
    assert blocks.entries(value) == [value]


@pytest.mark.parametrize(
    "value", [b"", b"#", b"#1:2:3", b"#1:2\nx", b"#1:5:4\nx", b"#1:1:9999999999\nx", b"#a:b:c\n", b"x"]
)
def test_a_value_without_a_place_is_refused_and_counts_as_one(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of any text
        blocks.span(value)
    assert blocks.count([value]) == 1


def test_missing_records_are_shown_as_unreadable() -> None:
    assert blocks.entries(b"#1:1:3\n[1]\n[2]") == [b"1:1:[1]", b"1:2:[2]", b"1:3:"]


@given(st.lists(st.one_of(st.binary(max_size=30), st.just(b'[1.0,20,"log","m",null]')), min_size=1, max_size=6))
def test_lines_that_are_decoded_together_are_those_decoded_one_by_one(bodies: list[bytes]) -> None:
    joined = b"\n".join(bodies)
    try:
        together = records.decode_lines(joined)
    except ValueError:
        return
    one_by_one = [records.decode_line(b"1:1:" + body)[2:] for body in joined.split(b"\n")]
    assert [(*line[:4], line[4] or None) for line in together] == one_by_one


@pytest.mark.parametrize(
    "bodies",
    [
        b'[1.0,20,"log","a",null] [1.0,20,"log","b",null]\n',
        b'[1.0,20,"log",\n"a",null]\n[1.0,20,"log","b",null] [1.0,20,"log","b",null]',
        b'[1.0,20,"log","a\\u0000",null]',
        b'[1.0,21,"log","a",null]',
        b'[1.0,20,"logs","a",null]',
        b'[1e999,20,"log","a",null]',
        b'[1.0,20,"log","a",{"x":1e999}]',
        b'[1.0,20,"log","a",{"x":' + b"[" * 201 + b"]" * 201 + b"}]",
        b'[1.0,20,"log","\xff",null]',
        b"",
    ],
)
def test_lines_that_need_care_are_not_decoded_together(bodies: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of any text
        records.decode_lines(bodies)


def test_levels_and_sources_are_the_known_ones() -> None:
    assert list(get_args(records._ValidLevel)) == Level.values
    assert list(get_args(records._ValidSource)) == Source.values
