"""Settings of the web server's doors: logins and requests. Each has a default, a unit and one line of meaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from django.conf import settings

from experiments.conf import load


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Django setting ATHANOR_WEB, environment ATHANOR_WEB_<NAME>."""

    # Logins
    login_failures_max: int = 10
    """Number of failed logins with one name from one address. Further ones are refused for `login_cool_off_s`."""
    login_failures_by_address_max: int = 50
    """Number of failed logins from one address, whatever the names. An IPv6 network of 64 bits counts as an address."""
    login_cool_off_s: float = 900.0
    """Time after the last counted failure for which logins are refused."""


@cache
def web_settings() -> WebSettings:
    """Return the settings of this process, which are read once."""
    return load(WebSettings, "ATHANOR_WEB", getattr(settings, "ATHANOR_WEB", {}))
