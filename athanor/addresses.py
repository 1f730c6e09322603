"""Settings from the environment: lists, networks and switches."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from django.core.exceptions import ImproperlyConfigured


def listed(text: str) -> list[str]:
    """Split a text at its commas, without empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]


def networks(text: str) -> list[str]:
    """Return the addresses and networks of a setting, separated by commas. Raises ImproperlyConfigured."""
    try:
        return [str(ip_network(name)) for name in listed(text)]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"ATHANOR_TRUSTED_PROXIES: {error}. Use addresses and networks, separated by commas: 127.0.0.1,10.0.3.0/24"
        ) from error


def switch(environ: Mapping[str, str], name: str) -> bool:
    """Return whether a setting is 1. Raises ImproperlyConfigured for others than 1, 0 and none."""
    value = environ.get(name, "").strip()
    if value not in ("", "0", "1"):
        raise ImproperlyConfigured(f"{name}={value}: use 1 or 0.")
    return value == "1"
