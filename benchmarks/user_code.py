"""Cost of one record in user code, while nothing holds it back: `ctx.log`, `ctx.metric`, `print`, `logging`.

    python -m benchmarks.user_code [--rounds 5] [--lines 5000]

Beside it the same loop in a plain process that prints, or logs with a formatter, to a file. They take turns.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Mailbox
from benchmarks.contestants import athanor
from benchmarks.figures import Beside, Report, at_most
from benchmarks.ground import arguments, ground
from benchmarks.machine import ROOT

WAYS = {
    "log with metadata": ("ctx.log.info(message, key=value)", 2.0, "logging"),
    "log": ("ctx.log.info(f'…')", None, "print"),
    "metric": ("ctx.metric(name, value, step)", 2.0, "logging"),
    "print": ("print(f'…')", 3.0, "print"),
    "logging": ("logging.info(message, …)", 8.0, "logging"),
}
"""Way → how it is written, its bound in µs, and the way of the plain process beside it."""


def main() -> None:
    options = arguments(__doc__, rounds=5, lines=5000)
    report = Report("user_code", **vars(options))
    ours: dict[str, list[float]] = {}
    plain: dict[str, list[float]] = {}
    with ground("sqlite") as place, athanor(place, slots=1):
        box = Mailbox()
        for _ in range(options.rounds):
            for way in WAYS:
                ours.setdefault(way, []).append(in_run(box, way, options.lines))
            for way in ("print", "logging"):
                plain.setdefault(way, []).append(to_file(box, way, options.lines, place.folder))
        box.close()
    for way, (name, bound, reference) in WAYS.items():
        target = None if bound is None else at_most(bound)
        report.add(name, "µs", ours[way], beside=Beside(f"{reference} to a file", plain[reference]), target=target)
    report.finish()


def in_run(box: Mailbox, way: str, count: int) -> float:
    """Return the µs of one record in a run."""
    from runs import services
    from tests.stack import ended

    run = services.launch("lines", configuration={"way": way, "count": count, "box": box.path})
    told = box.get()
    ended(run)
    return float(told["ended"] - told["began"]) / 1000 / count


def to_file(box: Mailbox, way: str, count: int, folder: Path) -> float:
    """Return the µs of one record in a plain process."""
    command = [sys.executable, "-m", "benchmarks.work", way, str(count), box.path, str(folder / "lines.log")]
    subprocess.run(command, cwd=ROOT, check=True)
    told = box.get()
    return float(told["ended"] - told["began"]) / 1000 / count


if __name__ == "__main__":
    main()
