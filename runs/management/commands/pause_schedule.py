"""Pause schedules."""

from __future__ import annotations

from runs import services
from runs.management.pausing import PausingCommand
from runs.models import Schedule


class Command(PausingCommand):
    help = "Pause schedules. Their history records the scheduled times as paused, and nothing is launched."
    examples = """
pause_schedule nightly
pause_schedule nightly hourly --json
"""
    done = "Paused schedule {name}. Resume it with `resume_schedule {name}`."

    def do(self, schedule_id: int, by: str) -> Schedule:
        return services.pause_schedule(schedule_id, by=by)
