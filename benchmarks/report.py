"""Print the stored results as Markdown, as docs/benchmarks.md shows them.

    python -m benchmarks.report [folder]

One table for each machine and commit: results that differ in either are not to be compared.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS, number
from benchmarks.machine import ROOT
from benchmarks.scripts import place_of

HEAD = "| figure | Athanor | beside it | ratio | target | |\n| --- | --- | --- | --- | --- | --- |"
FACTS = ("cpu", "cores", "memory_gib", "kernel", "python", "commit")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else default_folder()
    groups: dict[str, list[dict[str, Any]]] = {}
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for result in sorted(results, key=lambda result: place_of(result["benchmark"])):
        groups.setdefault(machine_text(result["machine"]), []).append(result)
    for machine, group in groups.items():
        print(f"\n{machine} {quiet_text(group)}\n\n{HEAD}")
        for result in group:
            for figure in result["figures"]:
                print(row(result["benchmark"], figure))


def default_folder() -> Path:
    return Path(os.environ.get(RESULTS) or ROOT / "var" / "benchmarks")


def machine_text(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']:g} GiB, {machine['kernel']},"
        f" Python {machine['python']}, commit {machine['commit']}."
    )


def quiet_text(results: list[dict[str, Any]]) -> str:
    """Say whether other work kept the machine busy at the start of the scripts."""
    busy = [result["machine"]["busy_percent"] for result in results]
    if all(result["machine"]["is_quiet"] for result in results):
        return "The machine was quiet."
    return f"**The machine was not quiet**: up to {max(busy):.0f} % busy before a script began."


def row(benchmark: str, figure: dict[str, Any]) -> str:
    """Return one line of the table."""
    beside, ratio = figure["reference"], figure["ratio"]
    database = f" ({benchmark.rpartition('-')[2]})" if "-" in benchmark else ""
    reference = "" if beside is None else f"{spread(beside)} {figure['unit']}, {beside['name']}"
    verdict = {True: "met", False: "**not met**", None: "no reference" if figure["target"] else ""}[figure["met"]]
    note = f". {figure['note']}" if figure["note"] else ""
    cells = (
        f"{figure['figure']}{database}{note}", f"{spread(figure)} {figure['unit']}", reference,
        "" if ratio is None else f"{ratio:.2f} ×", figure["target"] or "", verdict,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def spread(measured: dict[str, Any]) -> str:
    """Return the median with its range."""
    low, high = (number(value) for value in measured["range"])
    middle = number(measured["value"])
    return middle if low == high else f"{middle} ({low}–{high})"


if __name__ == "__main__":
    main()
