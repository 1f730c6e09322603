"""Rest while there are no schedules: beat sends a tick every few seconds then, not each second.

The rest is a hint in Redis that expires. If Redis loses it, ticks go on. If its end is lost, the first slot of the
first schedule is up to REST_S late.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction

from runs.conf import runs_settings
from runs.exceptions import BufferUnavailable
from runs.models import Schedule

logger = logging.getLogger(__name__)

REST_S = 5.0
"""Longest rest. Pages warn if a tick is missing for `pulse_silent_s`."""


def rest_without_schedules() -> bool:
    """Begin a rest if there are no schedules. Return whether it began."""
    if Schedule.objects.exists():
        return False
    from runs.lines.buffer import buffer

    try:
        buffer().rest_schedules(min(REST_S, runs_settings().pulse_silent_s / 3))
    except BufferUnavailable as error:
        logger.debug("Ticks go on: %s", error)
        return False
    if Schedule.objects.exists():  # created since the first look
        end()
        return False
    return True


def end() -> None:
    """End the rest."""
    from runs.lines.buffer import buffer

    try:
        buffer().wake_schedules()
    except BufferUnavailable as error:
        logger.warning("A new schedule is noticed within %g s: %s", REST_S, error)


def end_after_commit(created: bool, **_: Any) -> None:
    """End the rest when a new schedule is committed. Receiver of Django's `post_save`."""
    if created:
        transaction.on_commit(end)
