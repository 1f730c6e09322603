"""Runs side by side: what differs between them, and whether a reproduction gave the same. Reads only, bounded."""

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
    """One property of all runs."""

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
    """Configuration first, then results, code, packages, place and times."""
    attempts = newest_attempts(runs)
    provenance = [attempts[run.pk].provenance if run.pk in attempts else {} for run in runs]
    code = [{key: value for key, value in known.items() if key not in ("packages", "host")} for known in provenance]
    return [
        section("Configuration", [flat(masked(run.experiment, run.configuration)) for run in runs]),
        section("Results", [results(run) for run in runs]),
        section("Run", [facts(run) for run in runs]),
        section("Code", code),
        section("Packages", [known.get("packages", {}) for known in provenance]),
        section("Place and times", [place(run, attempts.get(run.pk)) for run in runs]),
    ]


def newest_attempts(runs: Sequence[Run]) -> dict[int, Attempt]:
    found = Attempt.objects.filter(run__in=runs).select_related("worker").order_by("number")
    return {attempt.run_id: attempt for attempt in found}


def section(title: str, columns: Sequence[Mapping[str, Any]]) -> Section:
    """Rows of what some of the columns have, in the order of the first that has it."""
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
    """Nested groups as dotted keys; lists stay whole."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        found |= flat(item, f"{name}.") if isinstance(item, Mapping) and item else {name: item}
    return found


def results(run: Run) -> dict[str, Any]:
    """What was returned, then the latest of each result, then the last point of each metric."""
    found, values = curves.read(run.pk)
    return {
        **{curve.key: curve.last for curve in found},
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
        "most memory": formatting.size(attempt.peak_memory_bytes) if attempt else None,
        "CPU time": formatting.duration(attempt.cpu_seconds) if attempt else None,
    }


def verdict(run: Run) -> Verdict | None:
    """Whether a reproduction gave what its origin gave; None for any other run."""
    if run.origin_kind != Origin.REPRODUCE or run.origin is None:
        return None
    origin = run.origin
    if not run.is_final:
        return Verdict("open", f"It reproduces run {origin.pk}: the results are compared once it has completed.")
    if run.status != Status.COMPLETED or origin.status != Status.COMPLETED:
        failed = run if run.status != Status.COMPLETED else origin
        return Verdict("bad", f"Not reproduced: run {failed.pk} did not complete ({failed.status}).")
    tolerances = _comparable(run.experiment)
    drifted = drift(results(origin), results(run), tolerances, flat(_returned(origin)))
    why = f" {causes}" if drifted and (causes := _causes(origin, run)) else ""
    if drifted:
        return Verdict("bad", f"Drifted from run {origin.pk}: {'; '.join(drifted)}.{why}")
    what = "all of " + ", ".join(tolerances) if tolerances else "everything that it returned"
    return Verdict("good", f"Reproduced run {origin.pk}: {what} is the same.")


def drift(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerances: Mapping[str, float], returned: Mapping[str, Any]
) -> list[str]:
    """What differs by more than it may, in words. Without tolerances: of what was `returned`, everything."""
    found = []
    for key, tolerance in (tolerances or dict.fromkeys(returned, 0.0)).items():
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if not _is_near(old, new, tolerance):
            allowed = f", {formatting.number(tolerance)} allowed" if tolerance else ""
            found.append(f"{formatting.printable(key)} was {_exact(old)} and is {_exact(new)}{allowed}")
    return found


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
    """What else is different, and may be why."""
    attempts = newest_attempts([origin, run])
    old, new = (attempts[each.pk].provenance if each.pk in attempts else {} for each in (origin, run))
    names = {
        "source_digest": "the experiment's code",
        "git_commit": "the commit",
        "python": "Python",
        "host": "the host",
    }
    found = [said for name, said in names.items() if old.get(name) != new.get(name)]
    packages = section("", [old.get("packages", {}), new.get("packages", {})]).different
    found += [f"{len(packages)} packages"] if packages else []
    return f"Different besides: {', '.join(found)}." if found else ""
