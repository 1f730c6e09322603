"""Small line charts as SVG, drawn by the server: they need no script. Pure.

A long curve comes in buckets: their last values make the line, their lowest and highest values the band behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runs import formatting
from runs.lines.curves import Curve, Point

WIDTH, HEIGHT, MARGIN = 600, 120, 4

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Chart:
    """Chart for the template. `paths` are pieces of the line, interrupted where a value is not finite."""

    key: str
    last: str
    low: str
    high: str
    first_x: str
    last_x: str
    points: int
    nonfinite: int
    paths: list[str]
    bands: list[str]
    """Areas between the lowest and the highest values."""
    dot: Place | None
    """Position of a single point."""
    gaps: list[float]
    """Horizontal positions of values that are not finite."""
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def label(self) -> str:
        points = f"{self.points} point{'' if self.points == 1 else 's'}"
        return f"{self.key}: {points} from {self.low} to {self.high}, last {self.last}"


def chart(curve: Curve) -> Chart:
    lows = [point.low for point in curve.points if point.low is not None]
    highs = [point.high for point in curve.points if point.high is not None]
    low, high = (min(lows), max(highs)) if lows and highs else (0.0, 0.0)
    x_of, y_of = _scales(curve.points, low, high)
    lines = [[(x_of(point), y_of(point.last)) for point in piece] for piece in pieces(curve.points)]
    single = lines[0][0] if len(lines) == 1 and len(lines[0]) == 1 else None
    return Chart(
        key=formatting.printable(curve.key),
        last=formatting.number(curve.last) if isinstance(curve.last, float) else curve.last,
        low=formatting.number(low) if lows else formatting.NOTHING,
        high=formatting.number(high) if highs else formatting.NOTHING,
        first_x=f"{curve.points[0].x:,}",
        last_x=f"{curve.points[-1].x:,}",
        points=curve.count,
        nonfinite=curve.nonfinite,
        paths=[_path(line) for line in lines if len(line) > 1],
        bands=[_path(band) for band in _bands(curve.points, x_of, y_of)],
        dot=single,
        gaps=[x_of(point) for point in curve.points if point.finite < point.points],
    )


def series(curve: Curve) -> dict[str, Any]:
    """Encode a curve for the charts of a page: `{key, points: [[step, time, last, low, high, not finite], ...]}`."""
    points = [
        [point.x, point.time, point.last, point.low, point.high, point.points - point.finite] for point in curve.points
    ]
    return {"key": formatting.printable(curve.key), "points": points}


def pieces(points: Sequence[Point]) -> list[list[Point]]:
    """Split points where a value is missing."""
    split: list[list[Point]] = [[]]
    for point in points:
        if point.last is None:
            split.append([])
        else:
            split[-1].append(point)
    return [piece for piece in split if piece]


def _bands(
    points: Sequence[Point], x_of: Callable[[Point], float], y_of: Callable[[float | None], float]
) -> Iterator[list[Place]]:
    for piece in pieces(points):
        if any(point.low != point.high for point in piece):
            upper = [(x_of(point), y_of(point.high)) for point in piece]
            yield upper + [(x_of(point), y_of(point.low)) for point in reversed(piece)]


def _scales(
    points: Sequence[Point], low: float, high: float
) -> tuple[Callable[[Point], float], Callable[[float | None], float]]:
    """Return functions for the horizontal and the vertical position. They halve first: the range may exceed a float."""
    first, last = min(point.x for point in points), max(point.x for point in points)
    tall = high / 2 - low / 2

    def x_of(point: Point) -> float:
        return MARGIN + (point.x - first) / (last - first) * (WIDTH - 2 * MARGIN) if last > first else WIDTH / 2

    def y_of(value: float | None) -> float:
        if value is None or tall == 0:
            return HEIGHT / 2
        return HEIGHT - MARGIN - (value / 2 - low / 2) / tall * (HEIGHT - 2 * MARGIN)

    return x_of, y_of


def _path(places: Sequence[Place]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
