"""Resume schedules."""

from __future__ import annotations

from runs import services
from runs.management.pausing import PausingCommand
from runs.models import Schedule


class Command(PausingCommand):
    help = "Resume paused schedules: slots from now on are launched again."
    examples = """
resume_schedule nightly
"""
    done = "is not paused. What came due in the meantime can be run by `backfill_schedule`."

    def do(self, schedule_id: int, by: str) -> Schedule:
        return services.resume_schedule(schedule_id, by=by)
