"""Figures of one benchmark: medians and ranges, the reference measured beside them, and targets.

A script makes one `Report`, adds its figures, and calls `finish`, which prints a table and writes
`var/benchmarks/<name>.json` for `benchmarks.report`.

    report = Report("first_line")
    report.add("launch to first line", "ms", ours, beside=Beside("RQ", theirs), target=ratio_at_most(0.75))
    report.finish()

`ours` and `theirs` hold one value for each round, taken in turn: a ratio is the median of the rounds' ratios, so that
the machine's noise falls on both.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import ROOT, facts

RESULTS = "BENCH_RESULTS"
"""Environment variable: the folder of the results, by default `var/benchmarks`."""


@dataclass(frozen=True, slots=True)
class Target:
    """Bound on a figure, or on its ratio to the reference."""

    limit: float
    is_upper: bool
    of: Literal["value", "ratio"] = "value"

    def __str__(self) -> str:
        return f"{'≤' if self.is_upper else '≥'} {self.limit:,g}{' ×' if self.of == 'ratio' else ''}"

    def is_met(self, value: float, ratio: float | None) -> bool | None:
        """Compare the figure with the bound; None if there is no reference to compare with."""
        measured = value if self.of == "value" else ratio
        if measured is None:
            return None
        return measured <= self.limit if self.is_upper else measured >= self.limit


def at_most(limit: float) -> Target:
    return Target(limit, is_upper=True)


def at_least(limit: float) -> Target:
    return Target(limit, is_upper=False)


def ratio_at_most(limit: float) -> Target:
    return Target(limit, is_upper=True, of="ratio")


def ratio_at_least(limit: float) -> Target:
    return Target(limit, is_upper=False, of="ratio")


@dataclass(frozen=True, slots=True)
class Beside:
    """Reference of a figure: what it is, and its value in each round."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report."""

    name: str
    unit: str
    values: Sequence[float]
    beside: Beside | None = None
    target: Target | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """Median of the ratios of the rounds; of the medians, if the reference has another number of rounds."""
        if self.beside is None or not all(self.beside.values):
            return None
        if len(self.beside.values) != len(self.values):
            return self.value / statistics.median(self.beside.values)
        return statistics.median(ours / theirs for ours, theirs in zip(self.values, self.beside.values, strict=True))

    @property
    def is_met(self) -> bool | None:
        return self.target.is_met(self.value, self.ratio) if self.target else None

    def as_json(self) -> dict[str, Any]:
        """Return the figure as `benchmarks.report` reads it."""
        beside = self.beside
        return {
            "figure": self.name,
            "unit": self.unit,
            "value": self.value,
            "range": [min(self.values), max(self.values)],
            "reference": beside and {
                "name": beside.name,
                "value": statistics.median(beside.values),
                "range": [min(beside.values), max(beside.values)],
            },
            "ratio": self.ratio,
            "target": str(self.target) if self.target else None,
            "met": self.is_met,
            "note": self.note,
        }  # fmt: skip


class Report:
    """Figures of one script."""

    def __init__(self, name: str, **options: object) -> None:
        self.name, self.options = name, options
        self.machine = facts()
        self.figures: list[Figure] = []

    def add(  # the columns of the table
        self,
        name: str,
        unit: str,
        values: Sequence[float],
        *,
        beside: Beside | None = None,
        target: Target | None = None,
        note: str = "",
    ) -> Figure:
        """Add a figure with one value for each round. A reference without values is left out."""
        figure = Figure(name, unit, values, beside if beside and beside.values else None, target, note)
        self.figures.append(figure)
        return figure

    def finish(self) -> Path:
        """Print the table and write the result; return the path of the file."""
        machine = self.machine
        print(f"\n{self.name}: {', '.join(f'{name} {value}' for name, value in self.options.items())}")
        print(f"{machine['cores']} cores, {machine['cpu']}, {machine['busy_percent']:.0f} % busy at the start\n")
        print(f"{'figure':<50}{'median':>12}  {'range':<19}{'beside it':>12}{'ratio':>8}  target")
        for figure in self.figures:
            print(_row(figure))
        folder = Path(os.environ.get(RESULTS) or ROOT / "var" / "benchmarks")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        result = {
            "benchmark": self.name,
            "options": {name: str(value) for name, value in self.options.items()},
            "machine": machine,
            "figures": [figure.as_json() for figure in self.figures],
        }
        path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        return path


def _row(figure: Figure) -> str:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} ×"
    beside = "" if figure.beside is None else f"{number(statistics.median(figure.beside.values))}"
    spread = f"{number(min(figure.values))}–{number(max(figure.values))}"
    verdict = {True: "met", False: "NOT MET", None: "no reference" if figure.target else ""}[figure.is_met]
    text = f"{figure.name + ', ' + figure.unit:<50}{number(figure.value):>12}  {spread:<19}{beside:>12}{ratio:>8}"
    text += f"  {figure.target or ''} {verdict}".rstrip()
    for extra in (figure.beside and f"beside it: {figure.beside.name}", figure.note):
        text += f"\n    {extra}" if extra else ""
    return text


def number(value: float) -> str:
    """Format a number with three significant digits, and whole from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
