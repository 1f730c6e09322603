"""Metrics, results, artifacts and summary on a run's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runs import formatting
from runs.admin.charts import Chart, chart
from runs.lines import curves, ranges
from runs.models import Artifact, Attempt, Run

INLINE_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Content types that a browser may show; anything else is downloaded."""
ARTIFACTS_MAX = 200


@dataclass(frozen=True, slots=True)
class ArtifactView:
    row: Artifact
    size: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Metrics, results, artifacts, summary."""

    charts: list[Chart]
    values: list[tuple[str, str, str]]
    tree: str
    """Values as indented JSON."""
    notice: str
    """Says which keys are not shown."""
    summary: list[tuple[str, str]]
    artifacts: list[ArtifactView]


def outcome(run: Run) -> Outcome:
    metrics, values = curves.read(run.pk)
    artifacts = run.artifacts.order_by("-attempt", "name")[:ARTIFACTS_MAX]
    return Outcome(
        charts=[chart(curve) for curve in metrics],
        values=[
            (
                formatting.printable(value.key),
                "" if value.step is None else str(value.step),
                formatting.cell(value.value),
            )
            for value in values
        ],
        notice=curves.keys_notice(run.pk),
        tree=formatting.pretty({value.key: value.value for value in values}) if values else "",
        summary=summary(run.summary),
        artifacts=[
            ArtifactView(artifact, formatting.size(artifact.size_bytes), artifact.content_type in INLINE_IMAGES)
            for artifact in artifacts
        ],
    )


def outcome_token(run: Run, attempts: Sequence[Attempt]) -> str:
    """Return a token that changes whenever `outcome` may change. Cheap enough for each poll of an open page."""
    stored = sum(ranges.count(attempt.results_stored) for attempt in attempts)
    return f"{stored}.{run.artifacts.count()}.{run.status}"


def summary(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [(formatting.printable(str(key)), formatting.cell(item)) for key, item in value.items()]
    return [("returned", formatting.cell(value))]
