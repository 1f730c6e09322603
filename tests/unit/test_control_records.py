"""Control records of a child: whatever the bytes are, a storable value comes out, or UnreadableRecord."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines import control_records, records
from runs.lines.control_records import UnreadableRecord

READERS: dict[str, Callable[[bytes], Any]] = {
    "E": control_records.end,
    "C": control_records.checkpoint,
    "A": control_records.artifact,
    "H": control_records.hello,
    "P": control_records.progress,
}
GOOD: dict[str, Any] = {
    "E": {"outcome": "returned", "error": "", "traceback": "", "summary": 1, "exit_code": 0, "after_s": 1.0},
    "C": {"id": 1, "sync": True, "state": {"step": 1}},
    "A": {"name": "a", "path": "artifacts/1/a", "size_bytes": 1, "sha256": "0" * 64, "content_type": "text/plain"},
    "H": {"source_file": "x.py", "source_digest": "0" * 64, "python": "3.11.2"},
    "P": [1.0, 2.0, "half"],
}
ARTIFACT = GOOD["A"]
NESTED = "[" * 500 + "]" * 500

numbers = (
    st.integers(-(2**80), 2**80) | st.integers(10**300, 10**320) | st.floats(allow_nan=False, allow_infinity=False)
)
leaves = st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"]), max_size=600)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8)


@st.composite
def wrong_records(draw: st.DrawFn) -> tuple[str, bytes]:
    """A record of any kind, one of its fields replaced, missing or added, perhaps with other bytes put into it."""
    kind = draw(st.sampled_from(sorted(GOOD)))
    payload = draw(values) if draw(st.booleans()) else GOOD[kind]
    if payload is GOOD[kind]:
        payload = payload.copy()
        place = draw(st.sampled_from(sorted(payload) if isinstance(payload, dict) else range(len(payload))))
        payload[place] = draw(values)
    body = bytearray(msgspec.json.encode(payload))
    for at in draw(st.lists(st.integers(0, len(body)), max_size=2)):
        body[at:at] = draw(st.binary(max_size=4))
    return kind, kind.encode() + bytes(body)


@given(wrong_records())
def test_any_record_is_read_or_refused(kind_and_record: tuple[str, bytes]) -> None:
    kind, record = kind_and_record
    try:
        value = READERS[kind](record)
    except UnreadableRecord:
        return
    assert is_storable(value, kind)


def is_storable(value: Any, kind: str) -> bool:
    if kind == "P":
        return all(number is None or math.isfinite(number) for number in (value.current, value.total))
    body = msgspec.json.encode(value).decode()
    if kind == "A":
        return 0 <= value["size_bytes"] < 2**63 and len(value["name"]) <= 255 and len(value["content_type"]) <= 100
    return r"\u0000" not in body and (kind != "C" or 0 <= value["id"] < 2**31)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_good_record_is_read_as_it_is(kind: str) -> None:
    value = READERS[kind](kind.encode() + msgspec.json.encode(GOOD[kind]))
    assert value == (records.Progress(1.0, 2.0, "half") if kind == "P" else GOOD[kind])


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"A" + msgspec.json.encode({**ARTIFACT, "size_bytes": 2**70}), "size_bytes"),
        (b"A" + msgspec.json.encode({**ARTIFACT, "size_bytes": -1}), "size_bytes"),
        (b"A" + msgspec.json.encode({**ARTIFACT, "content_type": "x" * 101}), "content_type"),
        (b"A" + msgspec.json.encode({**ARTIFACT, "name": ""}), "name"),
        (b"A" + msgspec.json.encode({**ARTIFACT, "path": "x" * 501}), "path"),
        (b'C{"id":2147483648,"sync":true,"state":{}}', "id"),
        (f'C{{"id":1,"sync":true,"state":{{"a":{NESTED}}}}}'.encode(), "nested"),
        (b'C{"id":1,"sync":true,"state":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}", "nested"),
        (f'E{{"outcome":"returned","summary":{NESTED}}}'.encode(), "nested"),
        (b'E{"outcome":"vanished"}', "outcome"),
        (b'E{"outcome":"retry_later","after_s":1e12}', "a year at most"),
        (b'P["much",null,""]', "$[0]"),
        (b"P[1" + b"0" * 400 + b",null,null]", "range"),
        (b"H5", "object"),
    ],
)
def test_a_refused_record_says_what_is_wrong(record: bytes, why: str) -> None:
    with pytest.raises(UnreadableRecord, match=re.escape(why)):
        READERS[chr(record[0])](record)


@pytest.mark.parametrize(
    ("record", "number"),
    [
        (b'C{"id":7,"sync":true,"state":' + b"[" * 50_000, 7),
        (b'C{"id":"x"}', None),
        (b'C{"id":99999999999}', None),
        (b"C", None),
    ],
)
def test_the_id_of_a_checkpoint_is_known_although_its_state_cannot_be_read(record: bytes, number: int | None) -> None:
    assert control_records.checkpoint_id(record) == number
