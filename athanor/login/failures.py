"""Log of failed logins: one line each, with name and address."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from runs import clients

NAME_MAX_CHARS = 60

log = logging.getLogger(__name__)


@receiver(user_login_failed)
def log_failure(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Log a failed login. The name is quoted: it may hold line breaks and control characters."""
    name = str(credentials.get("username", ""))
    shown = repr(name[:NAME_MAX_CHARS]) + ("…" if len(name) > NAME_MAX_CHARS else "")
    address = clients.UNKNOWN if request is None else clients.address(request)
    is_locked = getattr(request, "axes_locked_out", False)
    what = "refused a login after too many failures" if is_locked else "failed login"
    log.warning("%s: name %s, address %s", what, shown, address)
