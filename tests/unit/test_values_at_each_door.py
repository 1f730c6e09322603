"""Values at each door: what an experiment hands over is read again as it was, or refused at the call with its path.

The doors are those of a run (`ChildContext`) and, with the same outcome, those of a test (`RecordingContext`).
"""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from experiments.exceptions import UnstorableValue
from experiments.jsonvalues import unpack
from experiments.testing import RecordingContext
from runs.child import endings
from runs.child.context import AttemptInfo, ChildContext
from runs.child.control import Control
from runs.child.pipe import RecordPipe
from runs.states import AttemptKey
from runs.supervisor.channel import Channel
from tests.unit.odd_values import Colour, Empty, Layer, Loop, Score, Tensor, Unprintable, nested, shared

NAN, INF = math.nan, math.inf


@dataclasses.dataclass(frozen=True)
class Refused:
    """Expect that the call raises, with this text in its message."""

    text: str


@dataclasses.dataclass
class Case:
    """Expected value of each call: `...` is the value itself."""

    value: Any
    result: Any = ...
    checkpoint: Any = ...


CASES = {
    "nan": Case(NAN),
    "infinity": Case(INF),
    "nested infinities": Case({"best": INF, "all": [-INF, {"x": NAN}]}),
    "negative zero": Case(-0.0),
    "smallest float": Case(5e-324),
    "largest float": Case(1.7976931348623157e308),
    "float that jsonb would make an integer": Case(1e16),
    "large integer": Case(2**64 + 1),
    "10**400": Case(10**400),
    "integer of 5001 digits": Case(10**5000, *[Refused("4,300 digits")] * 2),
    "bool and None": Case([True, False, None]),
    "NUL in text": Case("a\0b"),
    "half a surrogate pair": Case({"x": "\ud800"}),
    "surrogate in a key": Case({"\udfff": 1}, Refused("characters that no database keeps")),
    "looks like a tag": Case([{"$float": "nan"}, {"$$float": 1}, {"$map": 3}, {"$tuple": [1], "b": 2}]),
    "tuple": Case({"t": (1, (2,))}, {"t": [1, [2]]}),
    "set": Case({3, 1}, [1, 3]),
    "frozenset": Case(frozenset({1}), [1]),
    "bytes": Case(b"\xff\0", "/wA="),
    "keys that are numbers": Case({1: "a", 2.5: "b"}, {"1": "a", "2.5": "b"}),
    "keys that meet as text": Case({1: "a", "1": "b"}, Refused("two keys are '1'")),
    "a tuple as key": Case({(1, 2): "a"}, Refused("the key (1, 2) (tuple) is not text")),
    "date": Case(date(2026, 3, 1), "2026-03-01", "2026-03-01"),
    "datetime": Case(datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
    "Decimal": Case(Decimal("1.10"), "1.10", "1.10"),
    "UUID": Case(UUID(int=1), str(UUID(int=1)), str(UUID(int=1))),
    "enum": Case(Colour.RED, "red", "red"),
    "path": Case(Path("a/b"), "a/b", "a/b"),
    "dataclass": Case(Layer(2, NAN), {"size": 2, "rate": NAN}, {"size": 2, "rate": NAN}),
    "pydantic model": Case(Score(), {"loss": NAN}, {"loss": NAN}),
    "counter": Case(Counter("aa"), {"a": 2}, {"a": 2}),
    "deque": Case(deque([1, NAN]), [1, NAN], [1, NAN]),
    "numpy nan": Case(np.float64("nan"), NAN, NAN),
    "numpy float32": Case(np.float32(0.1), 0.10000000149011612, 0.10000000149011612),
    "numpy integer, bool": Case([np.int64(3), np.bool_(True)], [3, True], [3, True]),
    "numpy array": Case(np.array([[1.5, INF]]), [[1.5, INF]], [[1.5, INF]]),
    "numpy time": Case(np.datetime64("2026-01-01", "ns"), *["2026-01-01T00:00:00.000000000"] * 2),
    "numpy complex": Case(np.complex128(1), *[Refused("complex has no JSON form")] * 2),
    "torch scalar": Case(Tensor(NAN), NAN, NAN),
    "torch tensor": Case(Tensor([1.0, INF]), [1.0, INF], [1.0, INF]),
    "object": Case({"a": [{"b": object()}]}, *[Refused("a[0].b: object has no JSON form")] * 2),
    "unprintable object": Case([Unprintable()], *[Refused("[0]: ")] * 2),
    "generator": Case((n for n in "ab"), *[Refused("generator has no JSON form")] * 2),
    "contains itself": Case(Loop(), *[Refused("me: it contains itself")] * 2),
    "nested 98 deep": Case(nested(98)),
    "nested 500 deep": Case(nested(500), *[Refused("more than 100 levels deep")] * 2),
    "exponentially large": Case(shared(60), *[Refused("larger than")] * 2),
    "300 KiB": Case("x" * 300_000, Refused("larger than 262,144 bytes")),
}


class Doors:
    """Both contexts, and the records that the supervisor reads."""

    def __init__(self, folder: Path) -> None:
        self._read, self._write = os.pipe()
        fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.set_blocking(self._read, False)
        control, self._control = os.pipe()
        facts = AttemptInfo(AttemptKey(1, 1), 0, None, folder, None, 1 << 20)
        pipe = RecordPipe(self._write, line_max_bytes=1 << 18)
        self.child = ChildContext(facts, Empty(), pipe, Control(control, on_gone=lambda: None))
        self.recording = RecordingContext(Empty(), workdir=folder)
        self._descriptors = [self._read, self._write, control, self._control]
        self._channel = Channel(record_max_bytes=1 << 21, line_max_bytes=1 << 18, senders_max=8)

    def read(self) -> list[Any]:
        records = []
        with suppress(BlockingIOError):
            while data := os.read(self._read, 1 << 20):
                records += self._channel.feed(data)
        return [msgspec.json.decode(record[1:]) for record in records]

    def close(self) -> None:
        for fd in self._descriptors:
            os.close(fd)


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    doors = Doors(tmp_path)
    yield doors
    doors.close()


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, NaN like NaN, -0.0 unlike 0.0."""
    return type(a) is type(b) and (a == b if isinstance(a, set | frozenset) else repr(a) == repr(b))


def check(got: Callable[[], Any], value: Any, expected: Any) -> None:
    """`got()` is as expected, or refused with that text."""
    if isinstance(expected, Refused):
        with pytest.raises(UnstorableValue) as caught:
            got()
        assert expected.text in str(caught.value)
    else:
        assert same(got(), value if expected is ... else expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_result_is_read_as_it_was_or_refused(doors: Doors, case: Case) -> None:
    def child() -> Any:
        doors.child.result("key", case.value)
        return unpack(doors.read()[0][4])

    def recording() -> Any:
        doors.recording.result("key", case.value)
        return doors.recording.results["key"][-1]

    check(recording, case.value, case.result)
    check(child, case.value, case.result)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_checkpoint_restores_what_it_was_given_or_is_refused(doors: Doors, case: Case) -> None:
    def child() -> Any:
        doors.child.checkpoint({"state": case.value})
        return unpack(doors.read()[0]["state"])["state"]

    def recording() -> Any:
        doors.recording.checkpoint({"state": case.value})
        restored = doors.recording.next_attempt().restored
        return restored and restored["state"]

    check(child, case.value, case.checkpoint)
    check(recording, case.value, case.checkpoint)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_returned_value_is_the_summary_or_fails_the_run_with_its_path(case: Case) -> None:
    end = endings.of_value(case.value, summary_max_bytes=1 << 18)

    if isinstance(case.result, Refused):
        assert end["outcome"] == "raised"
        assert case.result.text in end["error"]
    else:
        assert same(unpack(end["summary"]), case.value if case.result is ... else case.result)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_metadata_is_kept_or_shown_and_never_ends_the_run(doors: Doors, case: Case) -> None:
    doors.child.log.info("message", odd=case.value, fine=1)

    *_, message, metadata = doors.read()[0]
    assert message == "message"
    assert "cut" in metadata or metadata["fine"] == 1
    if case.result is ... and not isinstance(case.value, str | dict):
        assert same(unpack(metadata["odd"]), case.value)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("n" * 201, ValueError),
        ("a\0", ValueError),
        ("\ud800", ValueError),
        (1, TypeError),
        (None, TypeError),
    ],
)
def test_a_name_that_cannot_be_kept_is_refused(doors: Doors, name: Any, error: type[Exception]) -> None:
    for context in (doors.child, doors.recording):
        with pytest.raises(error, match=r"ctx\.metric"):
            context.metric(name, 1.0)
        with pytest.raises(error, match=r"ctx\.result"):
            context.result(name, 1)
    assert doors.read() == []


def test_names_that_agree_in_199_characters_stay_apart(doors: Doors) -> None:
    for end in "ab":
        doors.child.metric("n" * 199 + end, 1.0)

    assert [record[2][-1] for record in doors.read()] == ["a", "b"]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (None, None),
        (3, 3),
        (2.0, 2),
        (np.int64(3), 3),
        (np.float32(4.0), 4),
        (-(2**63) + 1, -(2**63) + 1),
        (1.5, ValueError),
        (NAN, ValueError),
        (INF, ValueError),
        ("3", TypeError),
        (object(), TypeError),
        (2**63, OverflowError),
    ],
)
def test_a_step_is_a_whole_number_or_refused(doors: Doors, step: Any, kept: Any) -> None:
    for context in (doors.child, doors.recording):
        if isinstance(kept, type):
            with pytest.raises(kept, match=r"ctx\.metric\('m'"):
                context.metric("m", 1.0, step)
        else:
            context.metric("m", 1.0, step)

    if not isinstance(kept, type):
        assert doors.read()[0][3] == doors.recording.metrics["m"][0].step == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (True, 1.0),
        (NAN, "nan"),
        (-INF, "-inf"),
        (np.float32("inf"), "inf"),
        (Tensor(0.25), 0.25),
        (Decimal("0.5"), 0.5),
        (2**53 + 1, ValueError),
        (10**400, ValueError),
        ("0.5", TypeError),
        (1j, TypeError),
        (None, TypeError),
    ],
)
def test_a_metric_is_a_float_or_refused(doors: Doors, value: Any, kept: Any) -> None:
    for context in (doors.child, doors.recording):
        if isinstance(kept, type):
            with pytest.raises(kept, match=r"ctx\.metric\('m'"):
                context.metric("m", value)
        else:
            context.metric("m", value)

    if not isinstance(kept, type):
        assert doors.read()[0][4] == kept
        assert str(doors.recording.metrics["m"][0].value) == str(float(value))


@pytest.mark.parametrize(
    ("current", "total", "message", "kept"),
    [
        (1, 2, "m", [1.0, 2.0, "m"]),
        (NAN, INF, "m", [5.0, None, "m"]),
        ("x", object(), 3, [5.0, None, "3"]),
        (10**400, -INF, Unprintable(), [5.0, None, "<Unprintable that cannot be shown>"]),
        (np.float64(2), Tensor(4), "x" * 600, [2.0, 4.0, "x" * 499 + "…"]),
    ],
)
def test_progress_never_raises(doors: Doors, current: Any, total: Any, message: Any, kept: list[Any]) -> None:
    for context in (doors.child, doors.recording):
        context.progress(5)
        context.progress(current, total, message)
    doors.child.flush_progress()

    assert doors.read()[-1] == kept
    assert list(doors.recording.progresses[-1]) == kept


class NoLength(list[int]):
    def __len__(self) -> int:
        raise TypeError("a stream has no length")


@pytest.mark.parametrize(("items", "total"), [([1, 2], 2), (NoLength([1, 2]), None), (iter([1, 2]), None)])
def test_tracking_takes_a_length_that_raises_as_unknown(doors: Doors, items: Any, total: int | None) -> None:
    assert list(doors.child.track(items)) == [1, 2]

    assert doors.read()[-1] == [2, total, ""]
