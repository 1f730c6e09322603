"""Small line charts as SVG, drawn by the server: they need no script. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runs import formatting
from runs.lines.curves import Curve

WIDTH, HEIGHT, BUCKETS = 600, 120, 300


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. `paths` are pieces of the line, interrupted where a value is not finite."""

    key: str
    last: str
    low: str
    high: str
    first_x: str
    last_x: str
    points: int
    truncated: bool
    paths: list[str]
    dot: tuple[float, float] | None
    """Where the line would be a single point."""
    width: int = WIDTH
    height: int = HEIGHT


def chart(curve: Curve) -> Chart:
    finite = [value for value in curve.ys if value is not None and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    pieces = [_placed(piece, curve, low, high) for piece in _pieces(thinned(curve.xs, curve.ys))]
    single = pieces[0][0] if len(pieces) == 1 and len(pieces[0]) == 1 else None
    return Chart(
        key=formatting.printable(curve.key),
        last=formatting.number(curve.last) if isinstance(curve.last, float) else curve.last,
        low=formatting.number(low) if finite else formatting.NOTHING,
        high=formatting.number(high) if finite else formatting.NOTHING,
        first_x=f"{curve.xs[0]:,}",
        last_x=f"{curve.xs[-1]:,}",
        points=len(curve.ys),
        truncated=curve.truncated,
        paths=[" ".join(f"{x:.1f},{y:.1f}" for x, y in piece) for piece in pieces if len(piece) > 1],
        dot=single,
    )


SERIES_MAX = 600
"""Points of one curve that a page's charts get."""


def series(curve: Curve) -> dict[str, Any]:
    """A curve for a page's charts: `{key, points: [[step, time, value], ...]}`."""
    points = list(zip(curve.xs, curve.times, curve.ys, strict=True))
    if len(points) > SERIES_MAX:
        kept = thinned(range(len(points)), curve.ys, SERIES_MAX)
        points = [points[index] for index, _ in kept]
    return {"key": formatting.printable(curve.key), "truncated": curve.truncated, "points": points}


def thinned(xs: Sequence[int], ys: Sequence[float | None], buckets: int = BUCKETS) -> list[tuple[int, float | None]]:
    """At most about `buckets` points, of which each bucket gives its least and its greatest: no spike is lost."""
    points = list(zip(xs, ys, strict=True))
    if len(points) <= buckets:
        return points
    step = math.ceil(len(points) / (buckets // 2))
    kept: list[tuple[int, float | None]] = []
    for start in range(0, len(points), step):
        bucket = points[start : start + step]
        finite = [index for index, (_, y) in enumerate(bucket) if y is not None]
        ends = (
            (min(finite, key=lambda i: bucket[i][1] or 0.0), max(finite, key=lambda i: bucket[i][1] or 0.0))
            if finite
            else (0,)
        )
        kept += [bucket[index] for index in sorted(set(ends))]
    return kept


def _pieces(points: Sequence[tuple[int, float | None]]) -> list[list[tuple[int, float]]]:
    """The stretches without a missing value."""
    pieces: list[list[tuple[int, float]]] = [[]]
    for x, y in points:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [piece for piece in pieces if piece]


def _placed(piece: Sequence[tuple[int, float]], curve: Curve, low: float, high: float) -> list[tuple[float, float]]:
    """Values as places in the picture, with a margin of 4."""
    first, last = min(curve.xs), max(curve.xs)
    wide, tall = (last - first) or 1, (high - low) or 1
    flat = high == low
    return [
        (
            4 + (x - first) / wide * (WIDTH - 8) if last > first else WIDTH / 2,
            HEIGHT / 2 if flat else HEIGHT - 4 - (y - low) / tall * (HEIGHT - 8),
        )
        for x, y in piece
    ]
