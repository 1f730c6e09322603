"""Compare runs: what differs, and whether a reproduction gave the same results. Reads only, bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import catalog
from experiments.catalog import masked
from experiments.exceptions import ExperimentsError
from experiments.jsonvalues import unpack
from runs import formatting
from runs.lines import curves
from runs.models import Attempt, Run
from runs.states import Origin, Status

RUNS_MAX = 20
MISSING = object()
_CAUSES = {
    "source_digest": "the experiment's code",
    "git_commit": "the commit",
    "python": "Python",
    "host": "the host",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One property of the compared runs."""

    name: str
    values: list[str]
    differs: bool


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    different: list[Row]
    same: list[Row]


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: str
    """good, bad or open."""
    sentence: str


def sections(runs: Sequence[Run]) -> list[Section]:
    """Configuration, logged values, run, code, packages, place and times, in this order."""
    attempts = newest_attempts(runs)
    provenance = [attempts[run.pk].provenance if run.pk in attempts else {} for run in runs]
    others = ("packages", "host", "start")
    code = [{key: value for key, value in each.items() if key not in others} for each in provenance]
    return [
        section("Configuration", [flat(masked(run.experiment, run.configuration)) for run in runs]),
        section("Logged values", [results(run) for run in runs]),
        section("Run", [facts(run) for run in runs]),
        section("Code", code),
        section("Packages", [each.get("packages", {}) for each in provenance]),
        section("Place and times", [place(run, attempts.get(run.pk)) for run in runs]),
    ]


def newest_attempts(runs: Sequence[Run]) -> dict[int, Attempt]:
    attempts = Attempt.objects.filter(run__in=runs).select_related("worker").order_by("number")
    return {attempt.run_id: attempt for attempt in attempts}


def section(title: str, columns: Sequence[Mapping[str, Any]]) -> Section:
    """Rows for the names that any column has, in the order of the first column that has them."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [_row(name, [column.get(name, MISSING) for column in columns]) for name in names]
    return Section(title, [row for row in rows if row.differs], [row for row in rows if not row.differs])


def _row(name: str, values: list[Any]) -> Row:
    return Row(
        formatting.printable(name), [shown(value) for value in values], any(value != values[0] for value in values)
    )


def shown(value: Any) -> str:
    return formatting.cell(None if value is MISSING else value)


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys. Lists stay whole."""
    flattened: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flattened |= flat(item, f"{name}.") if isinstance(item, Mapping) and item else {name: item}
    return flattened


def results(run: Run) -> dict[str, Any]:
    """Returned values, the latest value of each result, the last point of each metric."""
    metrics, values = curves.read(run.pk)
    return {
        **{curve.key: curve.last for curve in metrics},
        **{value.key: value.value for value in values},
        **flat(_returned(run)),
    }


def facts(run: Run) -> dict[str, Any]:
    return {
        "experiment": run.experiment,
        "status": run.get_status_display() + (f" · {run.failure_kind}" if run.failure_kind else ""),
        "seed": str(run.seed),
        "tags": ", ".join(run.tags),
        "attempts": run.attempt,
        "limits": run.limits,
    }


def place(run: Run, attempt: Attempt | None) -> dict[str, Any]:
    return {
        "host": attempt.provenance.get("host") if attempt else None,
        "worker": attempt.worker.name if attempt and attempt.worker else None,
        "launched": f"{run.created_at:%Y-%m-%d %H:%M:%S}",
        "waited": formatting.duration(formatting.between(run.created_at, run.started_at)),
        "ran": formatting.duration(formatting.between(run.started_at, run.finished_at)),
        "peak memory": formatting.size(attempt.peak_memory_bytes) if attempt else None,
        "CPU time": formatting.duration(attempt.cpu_seconds) if attempt else None,
    }


def verdict(run: Run) -> Verdict | None:
    """Compare a reproduction with its origin; None for any other run."""
    if run.origin_kind != Origin.REPRODUCE or run.origin is None:
        return None
    origin = run.origin
    if not run.is_final:
        return Verdict("open", f"Reproduces run {origin.pk}; results are compared when it completes.")
    if run.status != Status.COMPLETED or origin.status != Status.COMPLETED:
        failed = run if run.status != Status.COMPLETED else origin
        return Verdict("bad", f"Not reproduced: run {failed.pk} did not complete ({failed.status}).")
    tolerances = _comparable(run.experiment)
    drifted = drift(results(origin), results(run), tolerances, flat(_returned(origin)))
    why = f" {causes}" if drifted and (causes := _causes(origin, run)) else ""
    if drifted:
        return Verdict("bad", f"Drifted from run {origin.pk}: {'; '.join(drifted)}.{why}")
    what = ", ".join(tolerances) if tolerances else "summary"
    return Verdict("good", f"Reproduced run {origin.pk}: same {what}.")


def drift(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerances: Mapping[str, float], returned: Mapping[str, Any]
) -> list[str]:
    """Describe what differs by more than its tolerance. Without tolerances, everything that was `returned` counts."""
    drifted = []
    for key, tolerance in (tolerances or dict.fromkeys(returned, 0.0)).items():
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if not _is_near(old, new, tolerance):
            allowed = f", {formatting.number(tolerance)} allowed" if tolerance else ""
            drifted.append(f"{formatting.printable(key)} was {_exact(old)} and is {_exact(new)}{allowed}")
    return drifted


def _is_near(old: Any, new: Any, tolerance: float) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    if not numbers or old == new:
        return bool(old == new)
    return (math.isnan(old) and math.isnan(new)) or abs(old - new) <= tolerance


def _exact(value: Any) -> str:
    return repr(value) if isinstance(value, float) else shown(value)


def _returned(run: Run) -> dict[str, Any]:
    summary = unpack(run.summary)
    if isinstance(summary, dict):
        return summary
    return {} if summary is None else {"returned": summary}


def _comparable(experiment: str) -> Mapping[str, float]:
    try:
        return catalog.current().get(experiment).comparable
    except ExperimentsError:
        return {}


def _causes(origin: Run, run: Run) -> str:
    """Name other differences, which may be the cause."""
    attempts = newest_attempts([origin, run])
    old, new = (attempts[each.pk].provenance if each.pk in attempts else {} for each in (origin, run))
    different = [label for name, label in _CAUSES.items() if old.get(name) != new.get(name)]
    packages = section("", [old.get("packages", {}), new.get("packages", {})]).different
    different += [f"{len(packages)} packages"] if packages else []
    return f"Also different: {', '.join(different)}." if different else ""
