"""Time from the launch of a run to its first line, for an experiment that imports scikit-learn: warm and cold.

    python -m benchmarks.warm_starts [--rounds 5] [--launches 10] [--database sqlite]

Beside it, an experiment that imports nothing. All three take turns in each round.
"""

from __future__ import annotations

import os
import time

from benchmarks.contest import pss_mib, tree
from benchmarks.contestants import athanor
from benchmarks.figures import Beside, Report, quantile, ratio_at_most
from benchmarks.ground import arguments, ground
from benchmarks.machine import ROOT

WARM, COLD, EMPTY = "forest", "cold_forest", "measured"
FOLDERS = [ROOT / "benchmarks" / "experiments", ROOT / "benchmarks" / "experiments" / "slow_imports"]
WARM_WITHIN_S = 60.0
"""Longest time until the first warm start."""
TO_EMPTY_MAX = 1.5


def main() -> None:
    options = arguments(__doc__, database="postgresql", rounds=5, launches=10)
    report = Report(f"warm_starts-{options.database}", **vars(options))
    took: dict[str, list[float]] = {WARM: [], COLD: [], EMPTY: []}
    paths = os.pathsep.join(map(str, FOLDERS))
    with ground(options.database, ATHANOR_EXPERIMENT_PATHS=paths) as place, athanor(place, slots=4) as ours:
        before = pss_mib(tree([ours.worker.pid]))
        wait_for_warm_start()
        memory = pss_mib(tree([ours.worker.pid])) - before
        for _ in range(options.rounds):
            for name, values in took.items():
                launches = options.launches if name != COLD else max(1, options.launches // 5)
                values.append(quantile([first_line_ms(name) for _ in range(launches)], 0.5))
    show(report, took, memory)


def first_line_ms(experiment: str) -> float:
    """Return the ms from the launch of one run to its first line."""
    from runs import services

    began = time.monotonic_ns()
    run = services.launch(experiment)
    return (ended_summary(run.pk)["began"] - began) / 1e6


def ended_summary(run_id: int) -> dict[str, int]:
    from runs.models import Run
    from runs.states import Status

    while True:
        status, error, summary = Run.objects.values_list("status", "error", "summary").get(pk=run_id)
        if status == Status.COMPLETED:
            return dict(summary or {})
        if status in (Status.FAILED, Status.CANCELLED):
            raise RuntimeError(f"Run {run_id} {status}: {error}")
        time.sleep(0.005)  # the figure is the run's own time: this only waits for its end


def wait_for_warm_start() -> None:
    """Launch runs until one starts warm."""
    from runs.models import Attempt

    deadline = time.monotonic() + WARM_WITHIN_S
    while time.monotonic() < deadline:
        first_line_ms(WARM)
        time.sleep(0.5)  # its provenance is written, and its template is imported
        newest = Attempt.objects.filter(run__experiment=WARM).order_by("-run_id").values_list("provenance", flat=True)
        if str((newest.first() or {}).get("start", "")).startswith("warm"):
            return
    raise RuntimeError(f"No run of {WARM} started warm within {WARM_WITHIN_S:g} s")


def show(report: Report, took: dict[str, list[float]], memory: float) -> None:
    report.add(
        "scikit-learn, warm: launch to first line", "ms", took[WARM],
        beside=Beside("cold", took[COLD]),
    )  # fmt: skip
    report.add(
        "scikit-learn, warm: launch to first line", "ms", took[WARM],
        beside=Beside("no import", took[EMPTY]), target=ratio_at_most(TO_EMPTY_MAX),
    )  # fmt: skip
    report.add("memory of its template and of processes in advance", "MiB", [memory])
    report.finish()


if __name__ == "__main__":
    main()
