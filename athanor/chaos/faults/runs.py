"""Faults of runs, through public services."""

from __future__ import annotations

from django.db import DatabaseError
from kombu.exceptions import KombuError

from athanor.chaos.faults.base import Undo, fault
from athanor.chaos.plan import Planned
from athanor.chaos.stage import BY, NoTarget, Stage, choose
from runs import services
from runs.exceptions import RunsError

FLOOD = {"steps": 4, "lines": 8000, "pause_s": 0.0}


@fault("a run is cancelled", weight=3)
def cancel_run(stage: Stage, planned: Planned) -> Undo:
    run_id = choose(stage.active(), planned.luck)
    try:
        services.cancel(run_id, by=BY)
    except (DatabaseError, RunsError) as error:
        raise NoTarget("the database is unavailable") from error
    return None


@fault("a run floods the buffer until its supervisor has to wait", weight=2)
def flood(stage: Stage, planned: Planned) -> Undo:
    try:
        services.launch("chaos_probe", configuration=FLOOD, seed=planned.number, via=stage.via, priority=1)
    except (DatabaseError, KombuError) as error:
        raise NoTarget("the database is unavailable") from error
    return None
