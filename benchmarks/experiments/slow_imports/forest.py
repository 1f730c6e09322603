"""Experiment with a slow import, which starts warm, and the same one that starts cold."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel
from sklearn.ensemble import RandomForestClassifier

from experiments import Experiment, RunContext


class Forest(Experiment):
    """Say when the first line of user code ran, in a process that has imported scikit-learn."""

    warm = True

    class Config(BaseModel):
        pass

    def run(self, ctx: RunContext[Any]) -> dict[str, int]:
        began = time.monotonic_ns()
        ctx.result("trees", RandomForestClassifier().n_estimators)
        return {"began": began}


class ColdForest(Forest):
    """Forest, with its imports in each run."""

    warm = False
