"""Experiment, instance or run of a launch form."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.catalog import Entry
from experiments.models import Instance
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Target:
    """Experiment, instance or run to launch."""

    experiment: Entry
    instance: Instance | None = None
    run: Run | None = None
    """Run to launch again, with changes."""

    @property
    def title(self) -> str:
        if self.run:
            return f"Launch run {self.run.pk} again, with changes"
        return f"Launch {self.instance.name if self.instance else self.experiment.title}"
