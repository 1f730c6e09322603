"""Schedules in the admin: the list, each schedule's page, the form that says a timetable in words as one types."""

from runs.admin.schedules import home
from runs.admin.schedules.schedules import ScheduleAdmin

__all__ = ["ScheduleAdmin", "home"]
