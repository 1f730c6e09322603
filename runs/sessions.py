"""Lifetime of login sessions. They end when idle or too old, on the server, for pages and streams.

The session stores two times. A session of an older version, without them, gets them at its next request.
"""

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from runs.conf import runs_settings

BEGAN, SEEN = "began_at", "seen_at"
LIMITED = "limited_to_set_up"
"""Key of a session that may only set up a second factor."""
NOTE_EVERY_S = 60.0
"""Interval in which the time of the last request is stored at most once, not for each page."""

EXPIRED_MAX = 100
"""Number of expired sessions that a login removes from the database."""


def is_over(session: SessionBase) -> bool:
    """Return whether the session has been idle for too long, or is too old."""
    limits, now = runs_settings(), time.time()
    is_idle = now - session.get(SEEN, now) > limits.session_idle_s
    return bool(is_idle or now - session.get(BEGAN, now) > limits.session_life_s)


def note(session: SessionBase) -> None:
    """Store the time of a request of a person."""
    now = time.time()
    session.setdefault(BEGAN, now)
    if SEEN not in session or now - session[SEEN] > min(NOTE_EVERY_S, runs_settings().session_idle_s / 10):
        session[SEEN] = now


@receiver(user_logged_in)
def begin(request: HttpRequest, **_: Any) -> None:
    """Start the lifetime of a session at its login, and remove some expired sessions."""
    request.session[BEGAN] = request.session[SEEN] = time.time()
    request.session.set_expiry(int(runs_settings().session_life_s))
    expired = Session.objects.filter(expire_date__lt=timezone.now()).order_by("expire_date")
    Session.objects.filter(pk__in=list(expired.values_list("pk", flat=True)[:EXPIRED_MAX])).delete()
