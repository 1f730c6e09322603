"""Resume schedules."""

from __future__ import annotations

from runs import services
from runs.management.pausing import PausingCommand
from runs.models import Schedule


class Command(PausingCommand):
    help = "Resume paused schedules. They launch again at their next scheduled time."
    examples = """
resume_schedule nightly
"""
    done = "Resumed schedule {name}. Run the scheduled times that it missed with `backfill_schedule {name} FROM TO`."

    def do(self, schedule_id: int, by: str) -> Schedule:
        return services.resume_schedule(schedule_id, by=by)
