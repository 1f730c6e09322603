"""Permission to watch a run, checked when a stream opens and while it is open. Blocks: call it in a thread."""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http.cookie import parse_cookie

from runs import sessions
from runs.models import Run


class Answer(Enum):
    MAY = 200
    MAY_NOT = 403
    NO_RUN = 404


def may_watch(cookies: str, run_id: int) -> tuple[Answer, int]:
    """Check the session of the request's cookies as the admin does: active staff with the permission to view runs.

    Return the answer and the id of the user, 0 for an anonymous user.
    """
    user = user_of(cookies)
    if not (user.is_active and user.is_staff and (user.has_perm("runs.view_run") or user.has_perm("runs.change_run"))):
        return Answer.MAY_NOT, user.pk or 0
    return Answer.MAY if Run.objects.visible_to(user).filter(pk=run_id).exists() else Answer.NO_RUN, user.pk


def user_of(cookies: str) -> Any:
    """Return the user of the session in a request's cookies; AnonymousUser if there is none or it is over."""
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    if sessions.is_over(store) or store.get(sessions.LIMITED):
        return AnonymousUser()
    return get_user(SimpleNamespace(session=store))  # type: ignore[arg-type]  # it reads the session only
