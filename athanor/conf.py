"""Settings of logins, requests and connections. Each has a default, a unit and one line of meaning."""

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

    # Requests
    body_max_bytes: int = 10 * 1024 * 1024
    """Size of the body of a request. A larger one is refused before it is read."""
    anonymous_body_max_bytes: int = 64 * 1024
    """Size of the body of an anonymous request, of a login, and of a request without a Content-Length."""
    body_s: float = 60.0
    """Time for the arrival of a body."""
    requests_max: int = 40
    """Number of concurrent requests that a web process passes to Django, each with a thread and perhaps a database
    connection. Further ones wait.
    """
    responses_max: int = 100
    """Number of responses at once that a web process sends, downloads included. Beyond it, a response counts among
    `requests_max` until its client has read it.
    """
    requests_wait_s: float = 10.0
    """Longest time that a request waits for its turn. Then it is refused with status 503."""
    page_query_s: float = 30.0
    """Longest duration of a query of a page; on SQLite of all queries of a request together. 0: no limit."""

    # Connections
    connections_max: int = 3000
    """Number of open connections of a web process, streams of open pages included. Further ones are refused."""
    header_s: float = 10.0
    """Time for the arrival of a request's headers."""
    unread_s: float = 60.0
    """Time without progress after which the connection of a client that does not read its response is closed."""


@cache
def web_settings() -> WebSettings:
    """Return the settings of this process, which are read once."""
    return load(WebSettings, "ATHANOR_WEB", getattr(settings, "ATHANOR_WEB", {}))
