"""Address of a client, for the audit log and for limits by client."""

from __future__ import annotations

from ipaddress import ip_address

from django.http import HttpRequest

UNKNOWN = "unknown"


def address(request: HttpRequest) -> str:
    """Return the IP address of the client: of the connection, or as reported by a trusted proxy.

    The web application sets REMOTE_ADDR from `X-Forwarded-For` only for proxies of ATHANOR_TRUSTED_PROXIES
    (athanor.proxies), and drops the header. UNKNOWN without an address, as on a unix socket.
    """
    text = request.META.get("REMOTE_ADDR") or ""
    try:
        parsed = ip_address(text)
    except ValueError:
        return UNKNOWN
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
