"""The charts that the server draws."""

from __future__ import annotations

from typing import Any

from runs.admin.charts import BUCKETS, HEIGHT, WIDTH, chart, thinned
from runs.lines.curves import Curve


def curve(ys: list[float | None], **values: Any) -> Curve:
    last = ys[-1] if ys[-1] is not None else "nan"
    return Curve(
        **{  # the named ones are what differs
            "key": "loss",
            "xs": list(range(len(ys))),
            "times": [0.0] * len(ys),
            "ys": ys,
            "last": last,
            "truncated": False,
        }
        | values
    )


def test_a_line_goes_from_corner_to_corner() -> None:
    drawn = chart(curve([0.0, 1.0]))
    assert drawn.paths == [f"4.0,{HEIGHT - 4}.0 {WIDTH - 4}.0,4.0"]
    assert (drawn.low, drawn.high, drawn.last) == ("0", "1", "1")


def test_a_value_that_is_not_finite_interrupts_the_line() -> None:
    assert len(chart(curve([1.0, 2.0, None, 3.0, 4.0])).paths) == 2


def test_a_single_point_is_a_dot_and_a_constant_is_in_the_middle() -> None:
    assert chart(curve([5.0])).dot == (WIDTH / 2, HEIGHT / 2)
    assert chart(curve([5.0, 5.0])).paths == [f"4.0,{HEIGHT / 2} {WIDTH - 4}.0,{HEIGHT / 2}"]


def test_a_curve_without_a_finite_value_is_drawn_empty() -> None:
    drawn = chart(curve([None, None]))
    assert (drawn.paths, drawn.dot, drawn.low, drawn.last) == ([], None, "—", "nan")


def test_thinning_keeps_every_spike() -> None:
    ys: list[float | None] = [0.0] * 10_000
    ys[7_777] = 9.0
    kept = thinned(list(range(10_000)), ys)
    assert len(kept) <= 2 * BUCKETS
    assert (7_777, 9.0) in kept
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)
