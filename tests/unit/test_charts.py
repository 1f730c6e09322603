"""Charts that the server draws."""

from __future__ import annotations

from runs.admin.charts import HEIGHT, WIDTH, chart, series
from runs.lines.curves import Curve, Point


def point(x: int, y: float | None, low: float | None = None, high: float | None = None, *, points: int = 1) -> Point:
    finite = points if y is not None else 0
    return Point(x, float(x), y, y if low is None else low, y if high is None else high, points, finite)


def curve(ys: list[float | None]) -> Curve:
    last = ys[-1] if ys[-1] is not None else "nan"
    return Curve("loss", [point(x, y) for x, y in enumerate(ys)], last)


def test_a_line_goes_from_corner_to_corner() -> None:
    drawn = chart(curve([0.0, 1.0]))
    assert drawn.paths == [f"4.0,{HEIGHT - 4}.0 {WIDTH - 4}.0,4.0"]
    assert (drawn.low, drawn.high, drawn.last) == ("0", "1", "1")
    assert drawn.bands == []


def test_a_value_that_is_not_finite_interrupts_the_line_and_is_marked() -> None:
    drawn = chart(curve([1.0, 2.0, None, 3.0, 4.0]))
    assert len(drawn.paths) == 2
    assert (drawn.nonfinite, drawn.gaps) == (1, [WIDTH / 2])


def test_a_single_point_is_a_dot_and_a_constant_is_in_the_middle() -> None:
    assert chart(curve([5.0])).dot == (WIDTH / 2, HEIGHT / 2)
    assert chart(curve([5.0, 5.0])).paths == [f"4.0,{HEIGHT / 2} {WIDTH - 4}.0,{HEIGHT / 2}"]


def test_a_curve_without_a_finite_value_is_drawn_empty() -> None:
    drawn = chart(curve([None, None]))
    assert (drawn.paths, drawn.dot, drawn.low, drawn.last, drawn.nonfinite) == ([], None, "—", "nan", 2)


def test_buckets_are_drawn_as_a_band_behind_the_line() -> None:
    drawn = chart(Curve("loss", [point(0, 1.0, 0.0, 2.0, points=40), point(40, 1.0, 1.0, 4.0, points=40)], 1.0))
    assert drawn.bands == [f"4.0,60.0 {WIDTH - 4}.0,4.0 {WIDTH - 4}.0,88.0 4.0,{HEIGHT - 4}.0"]
    assert (drawn.points, drawn.low, drawn.high) == (80, "0", "4")


def test_a_range_beyond_a_float_is_drawn() -> None:
    drawn = chart(curve([-1.7e308, 1.7e308]))
    assert drawn.paths == [f"4.0,{HEIGHT - 4}.0 {WIDTH - 4}.0,4.0"]


def test_a_series_has_the_lowest_and_highest_values_and_how_many_are_not_finite() -> None:
    assert series(curve([1.0, None]))["points"] == [[0, 0.0, 1.0, 1.0, 1.0, 0], [1, 1.0, None, None, None, 1]]
